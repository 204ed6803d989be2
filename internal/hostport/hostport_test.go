package hostport_test

import (
	"testing"

	"github.com/coordinator-ha/coordinator/internal/hostport"
)

func TestCheck(t *testing.T) {
	for text, server := range map[string]bool{
		"h:1": true, "h.example.org:65535": true, "127.0.0.1:2379": true, "[::1]:2379": true, "[fe80::1%eth0]:1": true,
		"my_host:1": true, "1host:1": true, "münchen:1": true, "h.:1": true, "10.0.0.1:1": true,
	} {
		if err := hostport.Check(text); (err == nil) != server {
			t.Errorf("Check(%q) = %v", text, err)
		}
		if err := hostport.Listen(text); err != nil {
			t.Errorf("Listen(%q) = %v", text, err)
		}
	}
	for _, text := range []string{
		"", "h", ":", "h:", "h:x", "h:-1", "h:+1", "h:65536", "h:99999", "h: 1", "h:1 ", " h:1", "h :1", "h:1\n", "a b:1",
		"::1:1", "[::1]", "::1", "[::1:1", "[x]:1", "\"h\":1", "'h:1'", "h:1,i:2", "h/x:1", "http://h:1", "256.1.1.1:1", "10.0.0:1", "1:1", "-h:1", "h\x1b:1", "h:1/",
	} {
		if hostport.Check(text) == nil {
			t.Errorf("Check(%q) passes", text)
		}
		if hostport.Listen(text) == nil {
			t.Errorf("Listen(%q) passes", text)
		}
	}
	for _, text := range []string{":7400", "0.0.0.0:0", "h:0", "[::]:0"} {
		if err := hostport.Listen(text); err != nil {
			t.Errorf("Listen(%q) = %v", text, err)
		}
	}
	for _, text := range []string{":7400", "h:0"} {
		if hostport.Check(text) == nil {
			t.Errorf("Check(%q) passes", text)
		}
	}
}

func TestURL(t *testing.T) {
	for text, right := range map[string]bool{
		"http://h:1": true, "https://h:1": true, "http://h": true, "HTTP://h:1": true, "http://[::1]:1": true, "http://h:1/": true, "http://h:1/x": true,
		"": false, "h:1": false, "http:h:1": false, "http:/h:1": false, "http://": false, "http://:1": false, "http://h:": false, "http://h:0": false, "http://h:99999": false,
		"http://h:1?": false, "http://h:1?x": false, "http://h:1#": false, "http://u@h:1": true, "http://u:p@h:1": true, "ftp://h:1": false,
		" http://h:1": false, "http://h:1 ": false, "http:// h:1": false, "\"http://h:1\"": false, "http://h,i:1": false, "http://h:1,http://i:1": false, "http://::1:1": false,
	} {
		if u, err := hostport.URL(text, "http", "https"); (err == nil) != right {
			t.Errorf("URL(%q) = %v, %v", text, u, err)
		}
	}
}
