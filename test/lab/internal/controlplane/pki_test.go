package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

// TestPKI: what the control plane has is signed by its authority, the lab's own or the
// one of Talos' secrets, and a second Ensure changes nothing.
func TestPKI(t *testing.T) {
	own := PKI{Dir: t.TempDir()}
	if err := own.Ensure(); err != nil {
		t.Fatal(err)
	}
	read := func(p PKI, name string) []byte {
		t.Helper()
		b, err := os.ReadFile(p.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	talos := PKI{Dir: t.TempDir(), Talos: &Secrets{
		CACert: read(own, "ca.crt"), CAKey: read(own, "ca.key"), ServiceAccountKey: []byte("a key"), BootstrapToken: "a.b",
	}}
	if err := talos.Ensure(); err != nil {
		t.Fatal(err)
	}
	if got := string(read(talos, "sa.key")); got != "a key" {
		t.Errorf("the service account key is %q, not that of Talos' secrets", got)
	}
	for name, p := range map[string]PKI{"own": own, "Talos": talos} {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(read(p, "ca.crt"))
		for cert, use := range map[string]x509.ExtKeyUsage{"apiserver": x509.ExtKeyUsageServerAuth, "admin": x509.ExtKeyUsageClientAuth} {
			pair, err := tls.X509KeyPair(read(p, cert+".crt"), read(p, cert+".key"))
			if err != nil {
				t.Fatalf("%s: %s: %v", name, cert, err)
			}
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
				t.Errorf("%s: %s: %v", name, cert, err)
			}
		}
		before := string(read(p, "token"))
		if err := p.Ensure(); err != nil || string(read(p, "token")) != before {
			t.Errorf("%s: a second Ensure made another token, %v", name, err)
		}
	}
}
