package podresources

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/talos-sriov/talos-sriov/pkg/use"
)

// Socket is where the socket is below the kubelet's directory.
const Socket = "pod-resources/kubelet.sock"

// maxMessage bounds an answer; the kubelet's own client takes 16 MiB.
const maxMessage = 16 << 20

// Checkpoints reads the kubelet's checkpoint; see pkg/use/checkpoint.
type Checkpoints interface {
	Read() use.Checkpoint
}

// Client asks one kubelet. Its methods are safe for concurrent use.
type Client struct {
	path       string
	checkpoint Checkpoints
	now        func() time.Time

	mu     sync.Mutex
	since  time.Time // zero while the kubelet does not answer
	socket string    // identity of the one that it answered on
}

// New returns a client of the socket at path, which need not exist, and of the
// kubelet's checkpoint; nil for none.
func New(path string, checkpoint Checkpoints) *Client {
	return &Client{path: path, checkpoint: checkpoint, now: time.Now}
}

// Ask returns what the kubelet answers now. It never fails: no answer is an answer
// too, with its reason in Err. ctx bounds it. A kubelet that has restarted since the
// last call, also between two answers, counts as a new one: its socket is another.
func (c *Client) Ask(ctx context.Context) use.Kubelet {
	var k use.Kubelet
	if c.checkpoint != nil {
		k.Checkpoint = c.checkpoint.Read()
	}
	// Before it is asked: a socket that is replaced meanwhile is found by the next
	// call.
	socket := identity(c.path)
	var d dialer
	resp, err := c.list(ctx, &d)
	k.Listening = err == nil || d.mayListen()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !k.Listening || socket == "" || c.socket != socket {
		c.since = time.Time{}
	}
	if err != nil {
		k.Err = c.explain(err, k.Listening).Error()
		return k
	}
	if c.since.IsZero() {
		c.since = c.now()
	}
	c.socket = socket
	k.Answered, k.Since, k.ID = true, c.since, socket
	k.Held, k.Pods = assignments(resp)
	return k
}

// identity identifies the socket among those that are at its path one after the other,
// "" when it cannot be read. The time of its making counts, because inode numbers are used
// again at once.
func identity(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d:%d", st.Dev, st.Ino, info.ModTime().UnixNano())
}

// dialer connects to the socket and keeps what came of it: an error of the call does
// not say whether anybody listens.
type dialer struct {
	mu     sync.Mutex
	absent bool // the last attempt found nobody
}

func (d *dialer) dial(ctx context.Context, path string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.absent = errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ECONNREFUSED)
	return conn, err
}

// mayListen reports whether it is not known that nobody listens. A queue that is full
// (EAGAIN) is somebody's, and what must not be connected to (EACCES) may be.
func (d *dialer) mayListen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.absent
}

func (c *Client) list(ctx context.Context, d *dialer) (*podresourcesv1.ListPodResourcesResponse, error) {
	conn, err := grpc.NewClient("passthrough:///kubelet",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.dial(ctx, c.path) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	resp, err := podresourcesv1.NewPodResourcesListerClient(conn).List(ctx, &podresourcesv1.ListPodResourcesRequest{})
	return resp, errors.Join(err, conn.Close())
}

// assignments are the devices by ID of those that have them, and all pods.
func assignments(resp *podresourcesv1.ListPodResourcesResponse) (map[string][]use.Holder, map[use.Pod]bool) {
	held, pods := make(map[string][]use.Holder), make(map[use.Pod]bool)
	for _, pod := range resp.GetPodResources() {
		pods[use.Pod{Namespace: pod.GetNamespace(), Name: pod.GetName()}] = true
		for _, ctr := range pod.GetContainers() {
			add := func(ids []string, resource string) {
				for _, id := range ids {
					held[id] = append(held[id], use.Holder{
						Device: id, Namespace: pod.GetNamespace(), Pod: pod.GetName(),
						Container: ctr.GetName(), Resource: resource, Evidence: use.EvidencePodResources,
					})
				}
			}
			for _, dev := range ctr.GetDevices() {
				add(dev.GetDeviceIds(), dev.GetResourceName())
			}
			for _, claim := range ctr.GetDynamicResources() {
				for _, r := range claim.GetClaimResources() {
					add(claimed(r))
				}
			}
		}
	}
	return held, pods
}

func (c *Client) explain(err error, listening bool) error {
	switch {
	case !listening:
		return fmt.Errorf("no kubelet listens on %s: %w", c.path, err)
	case status.Code(err) == codes.Unimplemented:
		return fmt.Errorf("the kubelet on %s does not serve pod-resources v1: %w", c.path, err)
	default:
		return fmt.Errorf("pod-resources List on %s: %w", c.path, err)
	}
}
