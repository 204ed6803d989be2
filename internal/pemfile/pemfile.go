// Package pemfile reads certificates and keys from PEM files and is strict about the whole
// file. The standard library skips what it cannot parse, so that a bundle with a damaged
// second certificate would be trusted in part.
package pemfile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// File is a file that was read, and its content.
type File struct {
	Path string
	Text []byte
}

// certificateType is the type of PEM blocks with certificates.
const certificateType = "CERTIFICATE"

// Pool parses a bundle of CAs. Text between the certificates is skipped, as openssl and
// other tools write it; anything else besides certificates is an error.
func Pool(f File) (*x509.CertPool, error) {
	blocks, err := f.blocks()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for i, b := range blocks {
		if b.Type != certificateType {
			return nil, fmt.Errorf("%s: block %d is a %s, and a file of CAs must contain only certificates", f.Path, i+1, b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d of %d: %w", f.Path, i+1, len(blocks), err)
		}
		pool.AddCert(c)
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s: it contains no certificate in PEM form", f.Path)
	}
	return pool, nil
}

// Pair parses a certificate with its intermediates, and its key. Both may be in one file.
func Pair(cert, key File) (tls.Certificate, error) {
	var none tls.Certificate
	certs, err := cert.blocks()
	if err != nil {
		return none, err
	}
	keys := certs
	if key.Path != cert.Path {
		if keys, err = key.blocks(); err != nil {
			return none, err
		}
	}
	found := 0
	for i, b := range certs {
		if b.Type != certificateType {
			continue
		}
		found++
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return none, fmt.Errorf("%s: block %d: %w", cert.Path, i+1, err)
		}
	}
	private := firstKey(keys)
	switch {
	case found == 0 && firstKey(certs) != nil:
		return none, fmt.Errorf("%s: it contains a key and no certificate: are certificate and key interchanged?", cert.Path)
	case found == 0:
		return none, fmt.Errorf("%s: it contains no certificate in PEM form", cert.Path)
	case private == nil:
		return none, fmt.Errorf("%s: it contains no key in PEM form", key.Path)
	case encrypted(private):
		return none, fmt.Errorf("%s: the key is encrypted, and nobody can be asked for its password: decrypt it into a file that only this program's user may read, with openssl pkey -in KEY -out FILE", key.Path)
	}
	pair, err := tls.X509KeyPair(encode(certs), pem.EncodeToMemory(private))
	if err != nil {
		return none, fmt.Errorf("%s: it does not match the key %s: %w", cert.Path, key.Path, err)
	}
	return pair, nil
}

// firstKey returns the first block with a private key, or nil.
func firstKey(blocks []*pem.Block) *pem.Block {
	for _, b := range blocks {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			return b
		}
	}
	return nil
}

// encrypted reports whether a key needs a password, in PKCS #8 or in the older form, which
// says so in a header.
func encrypted(key *pem.Block) bool {
	return strings.HasPrefix(key.Type, "ENCRYPTED") || strings.Contains(key.Headers["Proc-Type"], "ENCRYPTED")
}

// encode writes certificates in the form that the standard library expects.
func encode(blocks []*pem.Block) []byte {
	var text bytes.Buffer
	for _, b := range blocks {
		if b.Type == certificateType {
			text.Write(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes}))
		}
	}
	return text.Bytes()
}

// byteOrderMark is put before a text by some editors. The standard library skips a block
// behind one.
var byteOrderMark = []byte("\xef\xbb\xbf")

// blocks returns all blocks of the file. It fails if something in the file looks like a
// block and cannot be parsed.
func (f *File) blocks() ([]*pem.Block, error) {
	text := bytes.ReplaceAll(f.Text, byteOrderMark, nil)
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("%s: it is not PEM: it contains bytes that are not text, or text in UTF-16", f.Path)
	}
	var blocks []*pem.Block
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			return blocks, f.checkBetween(rest, len(blocks))
		}
		read := text[:len(text)-len(rest)]
		begin := bytes.LastIndex(read, []byte("-----BEGIN "))
		if err := f.checkBetween(read[:begin], len(blocks)); err != nil {
			return nil, err
		}
		blocks, text = append(blocks, b), rest
	}
}

// remains matches the rest of a damaged or truncated block: its first or last line, or a
// line of its content.
var remains = regexp.MustCompile(`(?m)-----(BEGIN|END)|(BEGIN|END) ([A-Z0-9]+ )*(CERTIFICATE|KEY)\b|^[A-Za-z0-9+/=]{60,}\s*$`)

func (f *File) checkBetween(text []byte, before int) error {
	if at := remains.FindIndex(text); at != nil {
		return fmt.Errorf("%s: %w: what follows block %d", f.Path, errDamaged, before)
	}
	return nil
}

var errDamaged = errors.New("it is damaged or truncated, and is not used in part")
