package controlplane

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/kube"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/proc"
)

// Config says where everything is.
type Config struct {
	Dir     string              // data, logs and configuration of this run
	Port    int                 // the API server's, on the host's loopback
	Sockets string              // a directory with a short path
	PKI     PKI                 // keys
	Bin     func(string) string // paths of the programs
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	cfg    Config
	port   int
	egress *egress
	procs  []*proc.Process // in the order of their start

	Client     *kube.Client
	Kubeconfig string // for kubectl on the host
}

const startTimeout = 3 * time.Minute

// networksCRD is the kind that Multus reads and that its installation brings.
//
//go:embed files/network-attachment-definitions.yaml
var networksCRD []byte

// Start starts all programs and returns when pods can be created.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	c := &ControlPlane{cfg: cfg, Kubeconfig: filepath.Join(cfg.Dir, "kubeconfig")}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	cfg := c.cfg
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return err
	}
	if err := cfg.PKI.Ensure(); err != nil {
		return err
	}
	ports, err := proc.Ports(2)
	if err != nil {
		return err
	}
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	c.port = cfg.Port
	if err := c.run("etcd",
		"--name=lab", "--data-dir="+filepath.Join(cfg.Dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=lab="+peer,
		"--log-level=warn"); err != nil {
		return err
	}
	socket := filepath.Join(cfg.Sockets, "egress.sock")
	if c.egress, err = startEgress(socket); err != nil {
		return err
	}
	token, err := cfg.PKI.Token()
	if err != nil {
		return err
	}
	ca, err := cfg.PKI.CA()
	if err != nil {
		return err
	}
	if c.Client, err = kube.New(c.url(), token, ca); err != nil {
		return err
	}
	files := map[string]string{
		"kubeconfig": kubeconfig(c.url(), token, ca),
		"egress.yaml": "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n" +
			"- name: cluster\n  connection:\n    proxyProtocol: HTTPConnect\n    transport: {uds: {udsName: " + socket + "}}\n",
		"scheduler.yaml": "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" +
			"clientConnection: {kubeconfig: " + c.Kubeconfig + "}\nleaderElection: {leaderElect: false}\n" +
			"podInitialBackoffSeconds: 1\npodMaxBackoffSeconds: 1\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := c.waitPort(ctx, ports[0]); err != nil {
		return err
	}
	pki := cfg.PKI.path
	if err := c.run("kube-apiserver",
		"--etcd-servers="+etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port),
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--token-auth-file="+pki("tokens.csv"),
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+pki("sa.key"), "--service-account-signing-key-file="+pki("sa.key"),
		"--kubelet-preferred-address-types=Hostname", "--endpoint-reconciler-type=none",
		// Pods get their node sooner without the taint of a new node.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--egress-selector-config-file="+filepath.Join(cfg.Dir, "egress.yaml"),
		"--authorization-mode=Node,RBAC", "--client-ca-file="+pki("ca.crt"), "--enable-bootstrap-token-auth",
		"--kubelet-client-certificate="+pki("admin.crt"), "--kubelet-client-key="+pki("admin.key"), "--allow-privileged"); err != nil {
		return err
	}
	if err := c.wait(ctx, "wait for the API server", func() (bool, error) {
		_, err := c.Client.Raw(ctx, "GET", "/readyz", "", nil)
		return err == nil, err
	}); err != nil {
		return err
	}
	if err := c.run("kube-controller-manager",
		"--kubeconfig="+c.Kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--service-account-private-key-file="+pki("sa.key"), "--root-ca-file="+pki("ca.crt"),
		"--node-monitor-grace-period=5m", "--node-monitor-period=1s",
		"--use-service-account-credentials=false",
		"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key")); err != nil {
		return err
	}
	if err := c.run("kube-scheduler", "--config="+filepath.Join(cfg.Dir, "scheduler.yaml"), "--secure-port=0"); err != nil {
		return err
	}
	const networks = "network-attachment-definitions.k8s.cni.cncf.io"
	if err := c.Client.Apply(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+networks, networksCRD); err != nil {
		return err
	}
	if err := c.admitTalos(ctx); err != nil {
		return err
	}
	if err := c.wait(ctx, "wait for the default service account", func() (bool, error) {
		var v map[string]any
		err := c.Client.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", &v)
		return err == nil, err
	}); err != nil {
		return err
	}
	// The kind is served some moments after its definition.
	return c.wait(ctx, "wait for network definitions to be served", func() (bool, error) {
		var v map[string]any
		err := c.Client.Get(ctx, "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions", &v)
		return err == nil, err
	})
}

// admitTalos lets nodes that run Talos join, as Talos' own control plane does: with the
// bootstrap token they ask for a certificate, which is approved and later renewed.
func (c *ControlPlane) admitTalos(ctx context.Context) error {
	id, secret, _ := strings.Cut(c.cfg.PKI.Talos.BootstrapToken, ".")
	const binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: %s}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %q}\nsubjects: [{kind: Group, name: %q, apiGroup: rbac.authorization.k8s.io}]\n"
	const bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/"
	objects := map[string]string{
		"/api/v1/namespaces/kube-system/secrets/bootstrap-token-" + id: fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: bootstrap.kubernetes.io/token\n"+
			"metadata: {name: bootstrap-token-%s, namespace: kube-system}\n"+
			"stringData: {token-id: %q, token-secret: %q, usage-bootstrap-authentication: \"true\"}\n", id, id, secret),
	}
	for name, b := range map[string][2]string{
		"lab-node-bootstrapper": {"system:node-bootstrapper", "system:bootstrappers"},
		"lab-node-approve":      {"system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers"},
		"lab-node-renewal":      {"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"},
	} {
		objects[bindings+name] = fmt.Sprintf(binding, name, b[0], b[1])
	}
	for path, text := range objects {
		// The namespace and the roles come some moments after the API server.
		if err := c.wait(ctx, "create "+path, func() (bool, error) {
			err := c.Client.Apply(ctx, path, []byte(text))
			return err == nil, err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *ControlPlane) url() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

// Log is the log of one of the programs.
func (c *ControlPlane) Log(name string) string { return filepath.Join(c.cfg.Dir, name+".log") }

// Logs lists all logs.
func (c *ControlPlane) Logs() []string {
	var out []string
	for _, p := range c.procs {
		out = append(out, p.Log)
	}
	return out
}

func (c *ControlPlane) run(name string, args ...string) error {
	p, err := proc.Start(name, c.Log(name), c.cfg.Dir, c.cfg.Bin(name), args...)
	if err != nil {
		return err
	}
	c.procs = append(c.procs, p)
	return nil
}

// Err reports which of the programs has ended, if one has.
func (c *ControlPlane) Err() error {
	var errs []error
	for _, p := range c.procs {
		errs = append(errs, p.Err())
	}
	return errors.Join(errs...)
}

func (c *ControlPlane) wait(ctx context.Context, what string, f func() (bool, error)) error {
	return proc.Poll(ctx, what, 100*time.Millisecond, func() (bool, error) {
		if err := c.Err(); err != nil {
			return false, &proc.Permanent{Err: err}
		}
		return f()
	})
}

func (c *ControlPlane) waitPort(ctx context.Context, port int) error {
	return c.wait(ctx, "wait for etcd", func() (bool, error) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false, err
		}
		return true, conn.Close()
	})
}

// Node sets to which address of the host connections to a node's kubelet go.
func (c *ControlPlane) Node(name, to string) { c.egress.route(name+":10250", to) }

// Stop ends all programs: etcd last, since the others linger without it.
func (c *ControlPlane) Stop() {
	for i := len(c.procs) - 1; i >= 0; i-- {
		c.procs[i].Stop(20 * time.Second)
	}
	if c.egress != nil {
		c.egress.server.Close()
	}
}

// kubeconfig gives the text of a kubeconfig file.
func kubeconfig(url, token string, ca []byte) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: lab, user: {token: %s}}]
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
current-context: lab
`, url, base64.StdEncoding.EncodeToString(ca), token)
}
