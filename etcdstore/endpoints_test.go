package etcdstore

import (
	"strings"
	"testing"
)

func TestCheckEndpoints(t *testing.T) {
	for list, right := range map[string]bool{
		"h:2379": true, "http://h:2379": true, "https://h:2379|https://i:2379": true, "[::1]:2379": true, "http://[::1]:2379": true,
		"unix:///run/etcd.sock": true, "unixs:///run/etcd.sock": true, "unix:etcd.sock": true, "unix://localhost:m0": true, "127.0.0.1:1|127.0.0.1:2": true,
		"": false, " h:1": false, "h:1 ": false, "h:1|": false, "h": false, "http://h": false, "http://a:99999": false, "a:99999": false, "a:0": false,
		"'h:1'": false, "\"h:1\"": false, "h:1,i:1": false, "http://h:1/": false, "http://h:1/x": false, "http://h:1?x": false, "http://u@h:1": false,
		"http://u:p@h:1": false, "ftp://h:1": false, "dns:///h:1": false, "http:h:1": false, "http//h:1": false, "::1:2379": false, "h:1|h:1": false,
		"http://h:1|HTTP://H:1": false, "unix://": false, "unix:": false, "h:1\n": false, ":2379": false, "http://:2379": false, "https:/h:1": false,
	} {
		if err := checkEndpoints(strings.Split(list, "|")); (err == nil) != right {
			t.Errorf("checkEndpoints(%q) = %v", list, err)
		}
	}
}
