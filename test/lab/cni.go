package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"text/template"

	"github.com/talos-sriov/talos-sriov/test/lab/internal/artifact"
	"github.com/talos-sriov/talos-sriov/test/lab/internal/qemu"
)

//go:embed files/cni.yaml
var cniManifest string

// installCNI gives the cluster Multus and a network for pods.
func (n *Node) installCNI(ctx context.Context) error {
	text, err := n.cniManifest()
	if err != nil {
		return err
	}
	return n.Apply(ctx, text)
}

func (n *Node) cniManifest() (string, error) {
	t, err := template.New("").Parse(cniManifest)
	if err != nil {
		return "", fmt.Errorf("read the manifest of Multus: %w", err)
	}
	var out strings.Builder
	err = t.Execute(&out, map[string]string{"Image": artifact.MultusImage, "Server": fmt.Sprintf("http://%s:%d", qemu.Host, plainPort)})
	return out.String(), err
}

// servePlain serves the API server to Multus without TLS, and gives the port. Multus
// gives each of its requests a quarter of a second, which is less than a handshake takes
// under emulation while pods are made.
func (n *Node) servePlain() (int, error) {
	token, err := n.pki().Token()
	if err != nil {
		return 0, err
	}
	ca, err := n.pki().CA()
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	api := &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", n.apiPort)}
	return n.serve(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(api)
			r.Out.Header.Set("Authorization", "Bearer "+token)
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
		// For Multus, and not for the output of a test: it gives up requests.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
}
