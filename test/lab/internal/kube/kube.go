package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client is a client with one identity.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New returns a client for an API server with the given certificate authority.
func New(base, token string, ca []byte) (*Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the API server's certificate authority is not PEM")
	}
	return &Client{base: base, token: token, http: &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true},
	}}, nil
}

// StatusError is an answer that is not a success.
type StatusError struct {
	Method, Path string
	Code         int
	Message      string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Code, e.Message)
}

// Raw makes a request and returns the body of a successful answer.
func (c *Client) Raw(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		var s struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(b, &s) != nil || s.Message == "" {
			s.Message = string(b)
		}
		return nil, &StatusError{method, path, resp.StatusCode, s.Message}
	}
	return b, nil
}

// Get reads an object.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	b, err := c.Raw(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("GET %s: decode answer: %w", path, err)
	}
	return nil
}

// Apply creates or changes an object by server-side apply; path names it.
func (c *Client) Apply(ctx context.Context, path string, yaml []byte) error {
	_, err := c.Raw(ctx, http.MethodPatch, path+"?fieldManager=lab&force=true", "application/apply-patch+yaml", yaml)
	return err
}

// Meta is an object's metadata.
type Meta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
}

// Condition is one condition of an object.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Node is the part of a node that the lab reads.
type Node struct {
	Metadata Meta `json:"metadata"`
	Status   struct {
		Capacity    map[string]string `json:"capacity"`
		Allocatable map[string]string `json:"allocatable"`
		Conditions  []Condition       `json:"conditions"`
		NodeInfo    struct {
			BootID         string `json:"bootID"`
			KubeletVersion string `json:"kubeletVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// Ready reports whether the node's kubelet says so.
func (n Node) Ready() bool { return condition(n.Status.Conditions, "Ready") == "True" }

// Pod is the part of a pod that the lab reads.
type Pod struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase      string      `json:"phase"`
		Reason     string      `json:"reason"`
		Message    string      `json:"message"`
		Conditions []Condition `json:"conditions"`
		Containers []struct {
			Name         string         `json:"name"`
			Ready        bool           `json:"ready"`
			RestartCount int            `json:"restartCount"`
			ContainerID  string         `json:"containerID"`
			State        map[string]any `json:"state"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// Ready reports whether all of the pod's containers are ready.
func (p Pod) Ready() bool { return condition(p.Status.Conditions, "Ready") == "True" }

// Network is one interface of a pod, as Multus says it in the annotation
// k8s.v1.cni.cncf.io/network-status.
type Network struct {
	Name       string   `json:"name"`
	Interface  string   `json:"interface"`
	IPs        []string `json:"ips"`
	MAC        string   `json:"mac"`
	MTU        int      `json:"mtu"`
	Default    bool     `json:"default"`
	DeviceInfo *struct {
		Type    string `json:"type"`
		Version string `json:"version"`
		PCI     struct {
			Address string `json:"pci-address"`
			PF      string `json:"pf-pci-address"`
		} `json:"pci"`
	} `json:"device-info"`
}

// Network finds an interface in the pod's network status.
func (p Pod) Network(ifName string) (Network, error) {
	const key = "k8s.v1.cni.cncf.io/network-status"
	text := p.Metadata.Annotations[key]
	var all []Network
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return Network{}, fmt.Errorf("pod %s: annotation %s %q: %w", p.Metadata.Name, key, text, err)
	}
	for _, n := range all {
		if n.Interface == ifName {
			return n, nil
		}
	}
	return Network{}, fmt.Errorf("pod %s has no interface %s: %s", p.Metadata.Name, ifName, text)
}

// Address is the first address of an interface in the pod's network status.
func (p Pod) Address(ifName string) (string, error) {
	n, err := p.Network(ifName)
	if err != nil {
		return "", err
	}
	if len(n.IPs) == 0 {
		return "", fmt.Errorf("interface %s of pod %s has no address", ifName, p.Metadata.Name)
	}
	return n.IPs[0], nil
}

// Unschedulable is the scheduler's reason when it found no node, or empty.
func (p Pod) Unschedulable() string {
	for _, c := range p.Status.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" {
			return c.Message
		}
	}
	return ""
}

func condition(cs []Condition, kind string) string {
	for _, c := range cs {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}
