package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/controlplane"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
)

// Wait is how long a method waits whose context has no deadline. It is generous:
// emulation on a loaded machine is several times slower than on an idle one. Nothing
// waits longer than it must.
const Wait = 3 * time.Minute

// Cluster is a control plane and the one node that joins it.
type Cluster struct {
	cp      *controlplane.ControlPlane
	node    string
	program string
	cache   string
	alive   func() error
}

// New gives the cluster of a control plane. It runs kubectl as that program, with a
// directory for its cache; alive says why the node's machine is gone, if it is.
func New(cp *controlplane.ControlPlane, node, kubectl, cache string, alive func() error) *Cluster {
	return &Cluster{cp: cp, node: node, program: kubectl, cache: cache, alive: alive}
}

// WithDefault gives a context that ends after d, unless it has a deadline.
func WithDefault(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// WaitFor calls f until it reports true, with the context's deadline or the
// default one. The error of f that was last is in the error of a time-out.
func (c *Cluster) WaitFor(ctx context.Context, what string, f func(context.Context) (bool, error)) error {
	ctx, cancel := WithDefault(ctx, Wait)
	defer cancel()
	return proc.Poll(ctx, what, 200*time.Millisecond, func() (bool, error) {
		if dead := c.alive(); dead != nil {
			return false, &proc.Permanent{Err: dead}
		}
		return f(ctx)
	})
}

// Fatal marks an error of a WaitFor function that ends the wait at once.
func Fatal(err error) error { return &proc.Permanent{Err: err} }

// WaitReady waits until the API server has the node of that boot as Ready.
func (c *Cluster) WaitReady(ctx context.Context, boot string) error {
	return proc.Poll(ctx, "wait for "+c.node+" to be Ready", 100*time.Millisecond, func() (bool, error) {
		if dead := errors.Join(c.alive(), c.cp.Err()); dead != nil {
			return false, &proc.Permanent{Err: dead}
		}
		k, err := c.KubeNode(ctx)
		if err != nil {
			return false, err
		}
		if k.Status.NodeInfo.BootID != boot {
			return false, fmt.Errorf("the node's status is of boot %q", k.Status.NodeInfo.BootID)
		}
		if !k.Ready() {
			return false, fmt.Errorf("conditions %+v", k.Status.Conditions)
		}
		return true, nil
	})
}

// Kube is a client of the API server, as cluster administrator.
func (c *Cluster) Kube() *kube.Client { return c.cp.Client }

// KubeNode reads the node object.
func (c *Cluster) KubeNode(ctx context.Context) (kube.Node, error) {
	var k kube.Node
	err := c.cp.Client.Get(ctx, "/api/v1/nodes/"+c.node, &k)
	return k, err
}

// Allocatable is how many of a resource the node offers; -1 means that the node
// does not know the resource.
func (c *Cluster) Allocatable(ctx context.Context, resource string) (int, error) {
	k, err := c.KubeNode(ctx)
	if err != nil {
		return 0, err
	}
	v, ok := k.Status.Allocatable[resource]
	if !ok {
		return -1, nil
	}
	i, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("allocatable %s: %w", resource, err)
	}
	return i, nil
}

// WaitAllocatable waits until the node offers so many of a resource.
func (c *Cluster) WaitAllocatable(ctx context.Context, resource string, want int) error {
	return c.WaitFor(ctx, fmt.Sprintf("wait for %d %s to be allocatable", want, resource), func(ctx context.Context) (bool, error) {
		have, err := c.Allocatable(ctx, resource)
		if err == nil && have != want {
			err = fmt.Errorf("have %d", have)
		}
		return have == want, err
	})
}

// Kubectl runs kubectl, of the cluster's version, and returns its output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, nil, args...)
}

// KubectlInput is Kubectl with a text on standard input.
func (c *Cluster) KubectlInput(ctx context.Context, input string, args ...string) (string, error) {
	return c.kubectl(ctx, strings.NewReader(input), args...)
}

func (c *Cluster) kubectl(ctx context.Context, in io.Reader, args ...string) (string, error) {
	ctx, cancel := WithDefault(ctx, Wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, append([]string{"--kubeconfig=" + c.cp.Kubeconfig, "--cache-dir=" + c.cache}, args...)...)
	cmd.Stdin = in
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Apply applies YAML documents.
func (c *Cluster) Apply(ctx context.Context, yaml string) error {
	_, err := c.kubectl(ctx, strings.NewReader(yaml), "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-")
	return err
}

// Pod reads a pod of the default namespace.
func (c *Cluster) Pod(ctx context.Context, name string) (kube.Pod, error) {
	var p kube.Pod
	err := c.cp.Client.Get(ctx, "/api/v1/namespaces/default/pods/"+name, &p)
	return p, err
}

// WaitPod waits until a pod of the default namespace is as f wants it; f says
// in its error what is missing.
func (c *Cluster) WaitPod(ctx context.Context, name, what string, f func(kube.Pod) bool) (kube.Pod, error) {
	var p kube.Pod
	err := c.WaitFor(ctx, fmt.Sprintf("wait for pod %s to be %s", name, what), func(ctx context.Context) (bool, error) {
		var err error
		if p, err = c.Pod(ctx, name); err != nil {
			return false, err
		}
		if f(p) {
			return true, nil
		}
		return false, fmt.Errorf("phase %s %s %s %+v", p.Status.Phase, p.Status.Reason, p.Status.Message, p.Status.Conditions)
	})
	return p, err
}

// PodLogs is the log of a pod of the default namespace.
func (c *Cluster) PodLogs(ctx context.Context, name string) (string, error) {
	b, err := c.cp.Client.Raw(ctx, "GET", "/api/v1/namespaces/default/pods/"+name+"/log", "", nil)
	return string(b), err
}

// DeletePods deletes all pods of the default namespace and waits until they are
// gone.
func (c *Cluster) DeletePods(ctx context.Context) error {
	if _, err := c.Kubectl(ctx, "delete", "pods", "--all", "--grace-period=1", "--wait=true", "--timeout=170s"); err != nil {
		return err
	}
	return nil
}
