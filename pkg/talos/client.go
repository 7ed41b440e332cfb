package talos

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/generic"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/client"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"google.golang.org/grpc"
)

// ServiceID is the extension's service as Talos names it.
const ServiceID = "ext-sriov"

// Options say which nodes to talk to, as talosctl's flags of the same names do.
type Options struct {
	Config    string // file; "" for the usual places
	Context   string // "" for the file's current one
	Endpoints []string
	Nodes     []string
	// Now is the time that certificates are checked against.
	Now time.Time
	// Dial is added to the connection's options.
	Dial []grpc.DialOption
}

// Cluster is a connection to the Talos API.
type Cluster struct {
	client *client.Client
	// Nodes are the nodes to talk to, each once, in the order given.
	Nodes []*Node
}

// Open reads the talosconfig and prepares the connection; nothing is sent yet.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	file, err := clientconfig.Open(o.Config)
	if err != nil {
		return nil, &Error{Msg: "read the talosconfig", Err: err, Hint: "--talosconfig names the file, as does the variable TALOSCONFIG"}
	}
	name := cmp.Or(o.Context, file.Context)
	chosen := file.Contexts[name]
	if chosen == nil {
		return nil, &Error{Msg: fmt.Sprintf("the talosconfig %s has no context %q", file.Path().Path, name), Hint: "talosctl config contexts lists them; --context chooses one"}
	}
	if err := checkCertificate(chosen, o.Now); err != nil {
		return nil, err
	}
	nodes := o.Nodes
	if len(nodes) == 0 {
		nodes = chosen.Nodes
	}
	if len(nodes) == 0 {
		return nil, &Error{Msg: "no node is named", Hint: "-n 10.5.0.3,10.5.0.4 names them, or set them in the talosconfig: talosctl config nodes"}
	}
	if len(o.Endpoints) == 0 && len(chosen.Endpoints) == 0 {
		return nil, &Error{Msg: fmt.Sprintf("context %q has no endpoints", name), Hint: "-e 10.5.0.2 names one, or set them in the talosconfig: talosctl config endpoint"}
	}
	opts := []client.OptionFunc{
		client.WithConfig(file), client.WithContextName(name),
		client.WithDefaultGRPCDialOptions(), client.WithGRPCDialOptions(o.Dial...),
	}
	if len(o.Endpoints) > 0 {
		opts = append(opts, client.WithEndpoints(o.Endpoints...))
	}
	c, err := client.New(ctx, opts...)
	if err != nil {
		return nil, &Error{Msg: "open the connection to Talos", Err: err, Hint: "is the talosconfig complete?"}
	}
	out := &Cluster{client: c}
	for _, n := range nodes {
		if !slices.ContainsFunc(out.Nodes, func(have *Node) bool { return have.Name == n }) {
			out.Nodes = append(out.Nodes, &Node{Name: n, client: c})
		}
	}
	return out, nil
}

// Close closes the connection.
func (c *Cluster) Close() error { return c.client.Close() }

// checkCertificate finds what the TLS handshake would only tell as text.
func checkCertificate(c *clientconfig.Context, now time.Time) error {
	if c.Crt == "" {
		return nil // other kinds of authentication
	}
	raw, err := base64.StdEncoding.DecodeString(c.Crt)
	if err != nil {
		return &Error{Msg: "the talosconfig's client certificate is not base64", Err: err, Hint: "get a new talosconfig from whoever made this one"}
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return &Error{Msg: "the talosconfig's client certificate is not PEM", Hint: "get a new talosconfig from whoever made this one"}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return &Error{Msg: "the talosconfig's client certificate cannot be read", Err: err, Hint: "get a new talosconfig from whoever made this one"}
	}
	if now.After(cert.NotAfter) {
		return &Error{
			Msg:  "the talosconfig's client certificate expired on " + cert.NotAfter.UTC().Format(time.DateOnly),
			Hint: "make a new one: talosctl config new, or talosctl gen config with the cluster's secrets",
		}
	}
	if now.Before(cert.NotBefore) {
		return &Error{
			Msg:  "the talosconfig's client certificate is not valid before " + cert.NotBefore.UTC().Format(time.DateTime),
			Hint: "is this machine's clock right?",
		}
	}
	return nil
}

// Node is one node, reached through the Talos API.
type Node struct {
	Name   string
	client *client.Client
}

func (n *Node) ctx(ctx context.Context) context.Context { return client.WithNode(ctx, n.Name) }

// Version returns the node's Talos version, v1.13.0.
func (n *Node) Version(ctx context.Context) (string, error) {
	resp, err := n.client.Version(n.ctx(ctx))
	if err != nil {
		return "", explain(n.Name, "ask for the version", err)
	}
	if len(resp.Messages) > 0 {
		return resp.Messages[0].Version.GetTag(), nil
	}
	return "", &Error{Node: n.Name, Msg: "the answer names no version"}
}

// Service is the state of the extension's service.
type Service struct {
	// Installed is false when Talos knows no such service: the extension is
	// not in the node's image.
	Installed bool   `json:"installed" yaml:"installed"`
	State     string `json:"state,omitempty" yaml:"state,omitempty"` // Running, Waiting, Failed, ...
	Message   string `json:"message,omitempty" yaml:"message,omitempty"`
}

// Service asks for the extension's service. It needs os:reader.
func (n *Node) Service(ctx context.Context) (Service, error) {
	infos, err := n.client.ServiceInfo(n.ctx(ctx), ServiceID)
	if err != nil {
		return Service{}, explain(n.Name, "list services", err)
	}
	if len(infos) == 0 {
		return Service{}, nil
	}
	s := Service{Installed: true, State: infos[0].Service.GetState()}
	if events := infos[0].Service.GetEvents().GetEvents(); len(events) > 0 {
		s.Message = events[len(events)-1].GetMsg()
	}
	return s, nil
}

// ReadFile returns a file of the node. It needs os:admin. Whether the file is
// missing or unreadable, the API does not say; the error holds its text.
func (n *Node) ReadFile(ctx context.Context, path string) (_ []byte, err error) {
	r, err := n.client.Read(n.ctx(ctx), path)
	if err != nil {
		return nil, explain(n.Name, "read "+path, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, explain(n.Name, "read "+path, err)
	}
	return data, nil
}

// entry is one entry of a listing.
type entry struct {
	name string
	link string // target of a symbolic link, as it is written there
	dir  bool
}

// has reports whether an entry has the name.
func has(entries []entry, name string) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.name == name })
}

// list returns the entries of a directory. It needs os:reader.
func (n *Node) list(ctx context.Context, path string) ([]entry, error) {
	stream, err := n.client.LS(n.ctx(ctx), &machine.ListRequest{Root: path})
	if err != nil {
		return nil, err
	}
	var out []entry
	for {
		info, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if e := info.GetMetadata().GetError(); e != "" {
			return nil, errors.New(e)
		}
		if name := info.GetRelativeName(); name != "." && name != "" {
			out = append(out, entry{name: name, link: info.GetLink(), dir: info.GetIsDir()})
		}
	}
}

// HasFile reports whether a directory of the node has an entry of that name. A
// directory that its parent does not have has none; one that is there and cannot
// be listed is an error. It needs os:reader.
func (n *Node) HasFile(ctx context.Context, dir, name string) (bool, error) {
	entries, err := n.list(ctx, dir)
	if err == nil {
		return has(entries, name), nil
	}
	failed := explain(n.Name, "list "+dir, err)
	if ctx.Err() != nil || fatal(err) || dir == "/" {
		return false, failed
	}
	// The API has no code for "not there".
	there, err := n.HasFile(ctx, path.Dir(dir), path.Base(dir))
	if err != nil || !there {
		return false, err
	}
	return false, failed
}

// Logs copies the service's log to w; follow goes on until ctx ends. tail is
// the number of last lines, -1 for all. It needs os:reader.
func (n *Node) Logs(ctx context.Context, w io.Writer, follow bool, tail int32) (err error) {
	stream, err := n.client.Logs(n.ctx(ctx), "system", common.ContainerDriver_CONTAINERD, ServiceID, follow, tail)
	if err != nil {
		return explain(n.Name, "read the log of "+ServiceID, err)
	}
	r, err := client.ReadStream(stream)
	if err != nil {
		return explain(n.Name, "read the log of "+ServiceID, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if _, err := io.Copy(w, r); err != nil && ctx.Err() == nil {
		return explain(n.Name, "read the log of "+ServiceID, err)
	}
	return nil
}

// listAll lists resources of the default namespace of their type.
func listAll[T generic.ResourceWithRD](ctx context.Context, n *Node) ([]T, error) {
	list, err := safe.StateListAll[T](n.ctx(ctx), n.client.COSI)
	if err != nil {
		var zero T
		return nil, explain(n.Name, "list "+zero.ResourceDefinition().Type, err)
	}
	return slices.Collect(list.All()), nil
}
