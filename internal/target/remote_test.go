package target

import (
	"strings"
	"testing"
)

func TestParseRemote(t *testing.T) {
	for _, tt := range []struct {
		in   string
		kind Kind
		want Remote
	}{
		{"nfs:nas:/export/crash", NFS, Remote{"", "nas", 2049, "/export/crash"}},
		{"nfs:[2001:db8::1]:/e/", NFS, Remote{"", "2001:db8::1", 2049, "/e"}},
		{"sftp://crash@dumps.example.org/srv/crash", SFTP, Remote{"crash", "dumps.example.org", 22, "/srv/crash"}},
		{"sftp://c@192.0.2.1:2222/", SFTP, Remote{"c", "192.0.2.1", 2222, "/"}},
		{"sftp://c@[2001:db8::1]:22/x//y/../z", SFTP, Remote{"c", "2001:db8::1", 22, "/x/z"}},
		{"https://dumps.example.org/crash/", HTTPS, Remote{"", "dumps.example.org", 443, "/crash"}},
		{"https://h:8443/", HTTPS, Remote{"", "h", 8443, "/"}},
		{"s3://crashes", S3, Remote{"", "", 443, "/crashes"}},
		{"s3://my.crashes/fleet/a", S3, Remote{"", "", 443, "/my.crashes/fleet/a"}},
	} {
		got, err := Parse(tt.in)
		if err != nil || got.Kind != tt.kind || !got.Remote() || got.Raw() {
			t.Errorf("%s: got %+v, %v", tt.in, got, err)
			continue
		}
		if r := got.Server(); r != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.in, r, tt.want)
		}
		if got.String() != tt.in {
			t.Errorf("%s: printed as %s", tt.in, got)
		}
	}
	for in, part := range map[string]string{
		"nfs:nas":                     "not nfs:HOST:/PATH",
		"nfs:/export":                 "not nfs:HOST:/PATH",
		"nfs::/export":                "host",
		"nfs:nas:2049:/x":             "port",
		"nfs:2001:db8::1:/x":          "brackets",
		"sftp://host/x":               "user",
		"sftp://@host/x":              "user",
		"sftp://u:secret@host/x":      "a password",
		"sftp://u@/x":                 "host",
		"sftp://u@host":               "path",
		"sftp://u@host:0/x":           "port",
		"sftp://u@host:65536/x":       "port",
		"sftp://u@[fe80::1%eth0]/x":   "not allowed",
		"sftp://u@[2001:db8::1/x":     "bracket",
		"sftp://u@[192.0.2.1]/x":      "IPv6",
		"sftp://u@2001:db8::1/x":      "port",
		"sftp://u@-oProxyCommand=x/y": "host",
		"https://u@host/x":            "a user",
		"https://host/x?y=z":          "not allowed",
		"https://host/x y":            "not allowed",
		"s3://":                       "bucket",
		"s3://Bucket/x":               "bucket",
		"s3://ab":                     "bucket",
		"http://host/x":               "sftp://",
		"ssh://host/x":                "sftp://",
	} {
		got, err := Parse(in)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %+v, %v, want an error with %q", in, got, err, part)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/var/crash", "raw:swap", "nfs:h:/p", "sftp://u@h:22/p", "https://[::1]/p", "s3://buc/p"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Errorf("%q: %+v, then %+v, %v", s, got, again, err)
		}
		if !got.Remote() {
			return
		}
		if r := got.Server(); r.Path == "" || r.Path[0] != '/' || r.Port == 0 || r.Host == "" && got.Kind != S3 {
			t.Errorf("%q: %+v", s, r)
		}
	})
}
