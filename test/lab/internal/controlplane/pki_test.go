package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"
)

// TestPKI: what the control plane has is signed by the authority of Talos' secrets, and
// a second Ensure changes nothing.
func TestPKI(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	p := PKI{Dir: t.TempDir(), Talos: &Secrets{
		CACert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), CAKey: encodeKey(key),
		ServiceAccountKey: []byte("a key"), BootstrapToken: "a.b",
	}}
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
	if got := string(read("sa.key")); got != "a key" {
		t.Errorf("the service account key is %q, not that of Talos' secrets", got)
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
