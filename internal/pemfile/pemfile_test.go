package pemfile_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/certtest"
	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

// kit is a CA, another CA, and a pair of the first, as texts.
type kit struct {
	one, two, cert, key string
	other               string // a key of another pair
}

func newKit(t *testing.T) kit {
	t.Helper()
	var k kit
	for text, name := range map[*string]string{&k.one: "one", &k.two: "two"} {
		ca, err := certtest.NewCA(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		*text = read(t, ca.File())
		if name == "one" {
			cert, key, err := ca.Issue(certtest.Pair{Name: "node"})
			if err != nil {
				t.Fatal(err)
			}
			k.cert, k.key = read(t, cert), read(t, key)
			if _, key, err = ca.Issue(certtest.Pair{Name: "other"}); err != nil {
				t.Fatal(err)
			}
			k.other = read(t, key)
		}
	}
	return k
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func file(path, text string) pemfile.File { return pemfile.File{Path: path, Text: []byte(text)} }

// holds reports whether a pool consists of exactly these certificates.
func holds(t *testing.T, pool *x509.CertPool, texts ...string) bool {
	t.Helper()
	want := x509.NewCertPool()
	for _, text := range texts {
		if !want.AppendCertsFromPEM([]byte(text)) {
			t.Fatal("no certificate")
		}
	}
	return pool.Equal(want)
}

const bom = "\xef\xbb\xbf"

func TestPool_WholeOrNotAtAll(t *testing.T) {
	k := newKit(t)
	for name, text := range map[string]string{
		"one after the other":    k.one + k.two,
		"no newline at the end":  strings.TrimRight(k.one+k.two, "\n"),
		"lines end as on DOS":    strings.ReplaceAll(k.one+k.two, "\n", "\r\n"),
		"words between":          "# the first\nsubject=CN = one\n" + k.one + "\nCertificate:\n    Serial Number:\n        0a:1b\n=====\n" + k.two + "\n# end\n",
		"a mark before":          bom + k.one + k.two,
		"a mark in the middle":   k.one + bom + k.two,
		"headers in a block":     strings.Replace(k.one, "CERTIFICATE-----\n", "CERTIFICATE-----\nfriendlyName: one\n\n", 1) + k.two,
		"spaces behind the ends": strings.ReplaceAll(k.one, "-----\n", "----- \n") + k.two,
	} {
		pool, err := pemfile.Pool(file("ca.pem", text))
		if err != nil || !holds(t, pool, k.one, k.two) {
			t.Errorf("%s: %v, want both", name, err)
		}
	}
	lines := strings.SplitAfter(k.two, "\n")
	middle := len(lines) / 2
	der, _ := pem.Decode([]byte(k.two))
	short := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Bytes[:len(der.Bytes)-9]}))
	long := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(bytes.Clone(der.Bytes), 0)}))
	for name, second := range map[string]string{
		"an invalid letter":         strings.Replace(k.two, lines[middle], "!"+lines[middle][1:], 1),
		"cut at the end":            strings.Join(lines[:middle], ""),
		"cut within a line":         k.two[:len(k.two)/2],
		"cut at the start":          strings.Join(lines[middle:], ""),
		"a line is missing":         strings.Replace(k.two, lines[middle], "", 1),
		"its first line is damaged": strings.Replace(k.two, "-----BEGIN", "----BEGIN", 1),
		"its last line is damaged":  strings.Replace(k.two, "-----END CERTIFICATE-----", "-----END CERTIFICATE----", 1),
		"both are":                  strings.NewReplacer("-----BEGIN", "----BEGIN", "-----END", "----END").Replace(k.two),
		"its ends are gone":         strings.Join(lines[1:len(lines)-2], ""),
		"its ends differ":           strings.Replace(k.two, "END CERTIFICATE", "END X509 CRL", 1),
		"what it holds is short":    short,
		"what it holds is long":     long,
		"another type":              strings.ReplaceAll(k.two, "CERTIFICATE", "TRUSTED CERTIFICATE"),
		"a key":                     k.key,
		"wide characters":           "\xff\xfe" + wide(k.two),
	} {
		for place, text := range map[string]string{"behind": k.one + second, "before": second + "\n" + k.one} {
			if pool, err := pemfile.Pool(file("ca.pem", text)); err == nil || pool != nil || !strings.HasPrefix(err.Error(), "ca.pem: ") {
				t.Errorf("%s, %s a good one: %v, want it refused", name, place, err)
			}
		}
		if _, err := pemfile.Pool(file("ca.pem", second)); err == nil {
			t.Errorf("%s, alone: accepted", name)
		}
	}
	for _, text := range []string{"", "\n", "no certificate"} {
		if _, err := pemfile.Pool(file("ca.pem", text)); err == nil || !strings.Contains(err.Error(), "no certificate in PEM form") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func wide(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteRune(r)
		b.WriteByte(0)
	}
	return b.String()
}

func TestPair_SaysWhichFileIsWrong(t *testing.T) {
	k := newKit(t)
	for name, c := range map[string]struct{ cert, key string }{
		"a pair":                   {k.cert, k.key},
		"with a chain":             {k.cert + k.one, k.key},
		"certificate and key":      {k.cert + k.key, k.key},
		"key and certificate":      {k.key + k.cert, k.key},
		"parameters before a key":  {k.cert, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + k.key},
		"a mark before both":       {bom + k.cert, bom + k.key},
		"a mark before the chain":  {k.cert + bom + k.one, k.key},
		"a key with its own chain": {k.cert, k.cert + k.key},
	} {
		pair, err := pemfile.Pair(file("node.crt", c.cert), file("node.key", c.key))
		if err != nil || pair.Leaf == nil || pair.Leaf.Subject.CommonName != "node" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if blocks := strings.Count(c.cert, "BEGIN CERTIFICATE"); len(pair.Certificate) != blocks {
			t.Errorf("%s: %d certificates, want %d", name, len(pair.Certificate), blocks)
		}
	}
	der, _ := pem.Decode([]byte(k.key))
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der.Bytes}))
	older := string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: der.Bytes, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
	}))
	for name, c := range map[string]struct{ cert, key, says string }{
		"encrypted":                  {k.cert, pkcs8, "node.key: the key is encrypted"},
		"encrypted the older way":    {k.cert, older, "node.key: the key is encrypted"},
		"interchanged":               {k.key, k.cert, "node.crt: it contains a key and no certificate"},
		"no key":                     {k.cert, k.cert, "node.key: it contains no key"},
		"an empty key":               {k.cert, "", "node.key: it contains no key"},
		"an empty certificate":       {"", k.key, "node.crt: it contains no certificate"},
		"of another":                 {k.cert, k.other, "node.crt: it does not match the key node.key: tls: private key does not match"},
		"a cut key":                  {k.cert, k.key[:len(k.key)/2], "node.key: it is damaged or truncated"},
		"a cut certificate":          {k.cert[:len(k.cert)/2], k.key, "node.crt: it is damaged or truncated"},
		"a cut chain":                {k.cert + k.one[:len(k.one)/2], k.key, "node.crt: it is damaged or truncated"},
		"a damaged one in the chain": {k.cert + strings.Replace(k.one, "M", "!", 1), k.key, "node.crt: it is damaged or truncated"},
	} {
		_, err := pemfile.Pair(file("node.crt", c.cert), file("node.key", c.key))
		if err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	both := file("node.pem", k.cert+k.key)
	if _, err := pemfile.Pair(both, both); err != nil {
		t.Errorf("both in one file: %v", err)
	}
}
