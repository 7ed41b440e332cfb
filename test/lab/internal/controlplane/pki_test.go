package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

// TestPKI: what the control plane has is signed by the authority of its secrets, and
// a second Ensure changes nothing.
func TestPKI(t *testing.T) {
	secrets, err := NewSecrets()
	if err != nil {
		t.Fatal(err)
	}
	p := PKI{Dir: t.TempDir(), Talos: secrets}
	if err := p.Ensure(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(p.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got := string(read("sa.key")); got != string(secrets.ServiceAccountKey) {
		t.Errorf("the service account key is %q, not that of the secrets", got)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read("ca.crt"))
	for cert, use := range map[string]x509.ExtKeyUsage{"apiserver": x509.ExtKeyUsageServerAuth, "admin": x509.ExtKeyUsageClientAuth} {
		pair, err := tls.X509KeyPair(read(cert+".crt"), read(cert+".key"))
		if err != nil {
			t.Fatalf("%s: %v", cert, err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("%s: %v", cert, err)
		}
	}
	before := string(read("token"))
	if err := p.Ensure(); err != nil || string(read("token")) != before {
		t.Errorf("a second Ensure made another token, %v", err)
	}
}
