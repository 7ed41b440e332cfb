package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// GuestAPIServer is the API server's address as seen from a guest.
const GuestAPIServer = "10.0.2.100"

// PKI is the directory with keys, certificates and the token. It is made once, so
// that a saved node and a saved etcd go on working with a later control plane.
type PKI struct {
	Dir string
	// Talos is what the nodes' machine config was made from: they join with its token,
	// and every certificate is signed by its authority.
	Talos *Secrets
}

// Secrets are those of the secrets bundle of talosctl gen secrets that are Kubernetes'.
type Secrets struct {
	CACert, CAKey     []byte // PEM
	ServiceAccountKey []byte // PEM
	BootstrapToken    string // "id.secret"
}

// NewSecrets are those of a cluster whose nodes do not run Talos.
func NewSecrets() (*Secrets, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key of the authority: %w", err)
	}
	files := map[string][]byte{}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "lab"}, KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true}
	if err := (authority{ca, key}).sign(files, "ca", key, ca); err != nil {
		return nil, err
	}
	account, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key of service accounts: %w", err)
	}
	id, secret := make([]byte, 3), make([]byte, 8)
	_, _ = rand.Read(id)
	_, _ = rand.Read(secret)
	return &Secrets{
		CACert: files["ca.crt"], CAKey: files["ca.key"], ServiceAccountKey: encodeKey(account),
		BootstrapToken: hex.EncodeToString(id) + "." + hex.EncodeToString(secret),
	}, nil
}

func (p PKI) path(name string) string { return filepath.Join(p.Dir, name) }

// Ensure makes what is missing.
func (p PKI) Ensure() error {
	if _, err := os.Stat(p.path("made")); err == nil {
		return nil
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	files := map[string][]byte{}
	ca, err := p.authority(files)
	if err != nil {
		return err
	}
	if err := ca.issue(files, "apiserver", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(GuestAPIServer), net.ParseIP("10.96.0.1")},
	}); err != nil {
		return err
	}
	if err := ca.issue(files, "admin", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return err
	}
	token := make([]byte, 16)
	_, _ = rand.Read(token)
	files["token"] = []byte(hex.EncodeToString(token))
	files["tokens.csv"] = []byte(hex.EncodeToString(token) + ",admin,1,system:masters\n")
	for name, data := range files {
		if err := os.WriteFile(p.path(name), data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return os.WriteFile(p.path("made"), nil, 0o600)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// authority is that of Talos, whose files, and service account key, it adds.
func (p PKI) authority(files map[string][]byte) (authority, error) {
	pair, err := tls.X509KeyPair(p.Talos.CACert, p.Talos.CAKey)
	if err != nil {
		return authority{}, fmt.Errorf("read Talos' authority: %w", err)
	}
	files["ca.crt"], files["ca.key"], files["sa.key"] = p.Talos.CACert, p.Talos.CAKey, p.Talos.ServiceAccountKey
	return authority{pair.Leaf, pair.PrivateKey.(crypto.Signer)}, nil
}

// issue makes a key and its certificate.
func (a authority) issue(files map[string][]byte, name string, tmpl *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generate key of %s: %w", name, err)
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	return a.sign(files, name, key, tmpl)
}

func (a authority) sign(files map[string][]byte, name string, key *ecdsa.PrivateKey, tmpl *x509.Certificate) error {
	now := time.Now()
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(now.UnixNano()), now.Add(-24*time.Hour), now.AddDate(9, 0, 0)
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("make certificate of %s: %w", name, err)
	}
	files[name+".crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	files[name+".key"] = encodeKey(key)
	return nil
}

func encodeKey(k *ecdsa.PrivateKey) []byte {
	der, _ := x509.MarshalECPrivateKey(k) // cannot fail for P-256
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// Token is the token of the administrator, who may do everything.
func (p PKI) Token() (string, error) {
	b, err := os.ReadFile(p.path("token"))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// CA is the certificate authority of the API server.
func (p PKI) CA() ([]byte, error) {
	b, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	return b, nil
}
