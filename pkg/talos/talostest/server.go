package talostest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/protobuf/server"
	"github.com/siderolabs/talos/pkg/machinery/api/common"
	"github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Node is one node of the server.
type Node struct {
	Name    string
	Version string // v1.13.0
	// Sys is the directory that is the node's /sys, Files one for everything else.
	Sys, Files string
	// State holds the node's resources.
	State state.CoreState
	// Services are the node's services.
	Services []*machine.ServiceInfo
	// Log is the log of every service.
	Log string
	// Silent makes the node never answer.
	Silent bool
	// Judge says what is wrong with a configuration that is to be applied. Nil
	// stands for the loader of the Talos version that this program links.
	Judge func(data []byte) error
	// Applied is given every configuration that is applied.
	Applied func(data []byte)
}

// NewNode returns a node with an empty state. sys may be "".
func NewNode(name, sys, files string) *Node {
	return &Node{
		Name: name, Version: "v1.13.0", Sys: sys, Files: files,
		State: namespaced.NewState(inmem.Build),
	}
}

// Add puts resources into the node's state.
func (n *Node) Add(tb testing.TB, resources ...resource.Resource) {
	tb.Helper()
	for _, r := range resources {
		if err := n.State.Create(context.Background(), r); err != nil {
			tb.Fatal(err)
		}
	}
}

// Server is the running server.
type Server struct {
	Endpoint string // 127.0.0.1:port
	// Calls counts the calls that arrived.
	Calls atomic.Int64
	// Peak is the most calls that waited for the delay at one time.
	Peak atomic.Int64

	waiting   atomic.Int64
	authority *authority
	delay     time.Duration
	nodes     []*Node
}

// Start starts a server until the test ends. delay is waited before every call,
// as the way there and back of a slow link would take.
func Start(tb testing.TB, delay time.Duration, nodes ...*Node) *Server {
	tb.Helper()
	s := &Server{authority: newAuthority(tb), delay: delay, nodes: nodes}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.Endpoint = listener.Addr().String()
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.cert)
	g := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{s.authority.server(tb)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12,
		})),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := s.admit(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if err := s.admit(stream.Context(), info.FullMethod); err != nil {
				return err
			}
			return handler(srv, stream)
		}),
	)
	machine.RegisterMachineServiceServer(g, &machineServer{s: s})
	v1alpha1.RegisterStateServer(g, &stateServer{s: s})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Serve(listener); err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	tb.Cleanup(func() {
		g.Stop()
		wg.Wait()
	})
	return s
}

// rules are the roles that a call wants; calls that are not here want admin.
// Source: Talos, internal/app/machined, the authorizer's rules.
var rules = map[string]role.Set{
	"/machine.MachineService/Version":     role.MakeSet(role.Admin, role.Operator, role.Reader),
	"/machine.MachineService/ServiceList": role.MakeSet(role.Admin, role.Operator, role.Reader),
	"/machine.MachineService/List":        role.MakeSet(role.Admin, role.Operator, role.Reader),
	"/machine.MachineService/Logs":        role.MakeSet(role.Admin, role.Operator, role.Reader),
	"/cosi.resource.State/Get":            role.MakeSet(role.Admin, role.Operator, role.Reader),
	"/cosi.resource.State/List":           role.MakeSet(role.Admin, role.Operator, role.Reader),
	"/cosi.resource.State/Watch":          role.MakeSet(role.Admin, role.Operator, role.Reader),
}

func roles(ctx context.Context) role.Set {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return role.Zero
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return role.Zero
	}
	set, _ := role.Parse(info.State.PeerCertificates[0].Subject.Organization)
	return set
}

// admit waits for the delay and checks the role, as Talos does before a handler.
func (s *Server) admit(ctx context.Context, method string) error {
	s.Calls.Add(1)
	if s.delay > 0 {
		waiting := s.waiting.Add(1)
		defer s.waiting.Add(-1)
		for peak := s.Peak.Load(); waiting > peak && !s.Peak.CompareAndSwap(peak, waiting); peak = s.Peak.Load() {
		}
		timer := time.NewTimer(s.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if n, err := s.node(ctx); err == nil && n.Silent {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	want, ok := rules[method]
	if !ok {
		want = role.MakeSet(role.Admin)
	}
	if !roles(ctx).IncludesAny(want) {
		return status.Error(codes.PermissionDenied, "not authorized")
	}
	return nil
}

// node is the one that the call is for.
func (s *Server) node(ctx context.Context) (*Node, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	names := md.Get("node")
	if len(names) != 1 {
		return nil, status.Errorf(codes.InvalidArgument, "one node wanted, got %q", names)
	}
	i := slices.IndexFunc(s.nodes, func(n *Node) bool { return n.Name == names[0] })
	if i < 0 {
		return nil, status.Errorf(codes.Unavailable, "connection error: desc = \"transport: Error while dialing: dial tcp %s:50000: connect: no route to host\"", names[0])
	}
	return s.nodes[i], nil
}

type machineServer struct {
	machine.UnimplementedMachineServiceServer
	s *Server
}

func (m *machineServer) Version(ctx context.Context, _ *emptypb.Empty) (*machine.VersionResponse, error) {
	n, err := m.s.node(ctx)
	if err != nil {
		return nil, err
	}
	return &machine.VersionResponse{Messages: []*machine.Version{{Version: &machine.VersionInfo{Tag: n.Version}}}}, nil
}

func (m *machineServer) ServiceList(ctx context.Context, _ *emptypb.Empty) (*machine.ServiceListResponse, error) {
	n, err := m.s.node(ctx)
	if err != nil {
		return nil, err
	}
	return &machine.ServiceListResponse{Messages: []*machine.ServiceList{{Services: n.Services}}}, nil
}

// path is the file that a path of the node stands for.
func (n *Node) path(p string) string {
	p = filepath.Clean(p)
	if rest, ok := strings.CutPrefix(p, "/sys"); ok && (rest == "" || rest[0] == '/') && n.Sys != "" {
		return filepath.Join(n.Sys, rest)
	}
	return filepath.Join(n.Files, p)
}

func (m *machineServer) List(req *machine.ListRequest, stream machine.MachineService_ListServer) error {
	n, err := m.s.node(stream.Context())
	if err != nil {
		return err
	}
	if req.Recurse {
		return status.Error(codes.Unimplemented, "the test's server does not recurse")
	}
	root, err := filepath.EvalSymlinks(n.path(req.Root))
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	if err := stream.Send(&machine.FileInfo{Name: req.Root, RelativeName: ".", IsDir: true}); err != nil {
		return err
	}
	for _, e := range entries {
		info := &machine.FileInfo{Name: filepath.Join(req.Root, e.Name()), RelativeName: e.Name(), IsDir: e.IsDir()}
		if e.Type()&os.ModeSymlink != 0 {
			if info.Link, err = os.Readlink(filepath.Join(root, e.Name())); err != nil {
				return err
			}
		}
		if err := stream.Send(info); err != nil {
			return err
		}
	}
	return nil
}

func (m *machineServer) Read(req *machine.ReadRequest, stream machine.MachineService_ReadServer) error {
	n, err := m.s.node(stream.Context())
	if err != nil {
		return err
	}
	data, err := os.ReadFile(n.path(req.Path))
	if err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), n.path(req.Path), req.Path))
	}
	if len(data) == 0 {
		return nil
	}
	return stream.Send(&common.Data{Bytes: data})
}

func (m *machineServer) Logs(req *machine.LogsRequest, stream machine.MachineService_LogsServer) error {
	n, err := m.s.node(stream.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(n.Services, func(s *machine.ServiceInfo) bool { return s.Id == req.Id }) {
		return fmt.Errorf("log %q was not registered", req.Id)
	}
	log := n.Log
	if req.TailLines >= 0 {
		lines := strings.SplitAfter(strings.TrimSuffix(log, "\n"), "\n")
		log = strings.Join(lines[max(0, len(lines)-int(req.TailLines)):], "") + "\n"
	}
	if err := stream.Send(&common.Data{Bytes: []byte(log)}); err != nil {
		return err
	}
	if req.Follow {
		<-stream.Context().Done()
	}
	return nil
}

func (m *machineServer) ApplyConfiguration(ctx context.Context, req *machine.ApplyConfigurationRequest) (*machine.ApplyConfigurationResponse, error) {
	n, err := m.s.node(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.judge(req.Data); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if !req.DryRun {
		current := NewMachineConfig(req.Data)
		old, err := n.State.Get(ctx, current.Metadata())
		if err != nil {
			return nil, err
		}
		current.Metadata().SetVersion(old.Metadata().Version())
		if err := n.State.Update(ctx, current); err != nil {
			return nil, err
		}
		if n.Applied != nil {
			n.Applied(req.Data)
		}
	}
	return &machine.ApplyConfigurationResponse{Messages: []*machine.ApplyConfiguration{{
		Mode: machine.ApplyConfigurationRequest_NO_REBOOT, ModeDetails: "Applied configuration without a reboot",
	}}}, nil
}

func (n *Node) judge(data []byte) error {
	if n.Judge != nil {
		return n.Judge(data)
	}
	_, err := configloader.NewFromBytes(data)
	return err
}

// stateServer hands each call to the state of the node that it is for.
type stateServer struct {
	v1alpha1.UnimplementedStateServer
	s *Server
}

func (s *stateServer) of(ctx context.Context, typ string) (*server.State, error) {
	n, err := s.s.node(ctx)
	if err != nil {
		return nil, err
	}
	// Talos keeps sensitive resources from everybody but admins.
	if typ == config.MachineConfigType && !roles(ctx).Includes(role.Admin) {
		return nil, status.Error(codes.PermissionDenied, "not authorized")
	}
	return server.NewState(n.State), nil
}

func (s *stateServer) Get(ctx context.Context, req *v1alpha1.GetRequest) (*v1alpha1.GetResponse, error) {
	st, err := s.of(ctx, req.Type)
	if err != nil {
		return nil, err
	}
	return st.Get(ctx, req)
}

func (s *stateServer) List(req *v1alpha1.ListRequest, stream v1alpha1.State_ListServer) error {
	st, err := s.of(stream.Context(), req.Type)
	if err != nil {
		return err
	}
	return st.List(req, stream)
}

func (s *stateServer) Watch(req *v1alpha1.WatchRequest, stream v1alpha1.State_WatchServer) error {
	st, err := s.of(stream.Context(), req.Type)
	if err != nil {
		return err
	}
	return st.Watch(req, stream)
}
