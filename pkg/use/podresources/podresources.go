package podresources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

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

// Client asks one kubelet. Its methods are safe for concurrent use.
type Client struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	since  time.Time   // zero while the kubelet does not answer
	socket fs.FileInfo // that it answered on
}

// New returns a client of the socket at path, which need not exist.
func New(path string) *Client { return &Client{path: path, now: time.Now} }

// Ask returns what the kubelet answers now. It never fails: no answer is an answer
// too, with its reason in Err. ctx bounds it. A kubelet that has restarted since the
// last call, also between two answers, counts as a new one: its socket is another.
func (c *Client) Ask(ctx context.Context) use.Kubelet {
	// Before it is asked: a socket that is replaced meanwhile is found by the next
	// call.
	socket, _ := os.Lstat(c.path)
	held, err := c.list(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.since = time.Time{}
		return use.Kubelet{Err: err.Error()}
	}
	if c.since.IsZero() || !same(c.socket, socket) {
		c.since = c.now()
	}
	c.socket = socket
	return use.Kubelet{Answered: true, Since: c.since, Held: held}
}

// same reports whether two readings of the path found one socket. The time of its
// making counts, because inode numbers are used again at once.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

func (c *Client) list(ctx context.Context) (map[string][]use.Holder, error) {
	conn, err := grpc.NewClient("unix:"+c.path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("pod-resources socket %s: %w", c.path, err)
	}
	resp, err := podresourcesv1.NewPodResourcesListerClient(conn).List(ctx, &podresourcesv1.ListPodResourcesRequest{})
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, c.explain(err)
	}
	held := make(map[string][]use.Holder)
	for _, pod := range resp.GetPodResources() {
		for _, ctr := range pod.GetContainers() {
			for _, dev := range ctr.GetDevices() {
				for _, id := range dev.GetDeviceIds() {
					held[id] = append(held[id], use.Holder{
						Device: id, Namespace: pod.GetNamespace(), Pod: pod.GetName(),
						Container: ctr.GetName(), Evidence: use.EvidencePodResources,
					})
				}
			}
		}
	}
	return held, nil
}

func (c *Client) explain(err error) error {
	switch status.Code(err) {
	case codes.Unavailable:
		return fmt.Errorf("no kubelet listens on %s: %w", c.path, err)
	case codes.Unimplemented:
		return fmt.Errorf("the kubelet on %s does not serve pod-resources v1: %w", c.path, err)
	default:
		return fmt.Errorf("pod-resources List on %s: %w", c.path, err)
	}
}
