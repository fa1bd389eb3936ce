package config

import (
	"slices"
	"strings"
	"testing"
)

func TestRemoteKeys(t *testing.T) {
	c := Default()
	err := c.apply("ukdump.conf", `TARGET="sftp://crash@192.0.2.1/srv nfs:[2001:db8::1]:/e /var/crash"
SSH_KEY=/root//.ssh/dump
S3_ENDPOINT=http://192.0.2.2:9000/
NFS_VERSION=3
ENCRYPT="age1aaa /etc/ukdump//recipients"
ENCRYPT_REPORT=no
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.SSHKey != "/root/.ssh/dump" || c.NFSVersion != "3" || c.EncryptReport || !slices.Equal(c.Encrypt, []string{"age1aaa", "/etc/ukdump/recipients"}) {
		t.Errorf("%+v", c)
	}
	if dirs := c.Directories(); !slices.Equal(dirs, []string{"/var/crash"}) {
		t.Errorf("directories: %q", dirs)
	}
	for line, part := range map[string]string{
		"SSH_KEY=id_ed25519":                 "not an absolute path",
		"NFS_VERSION=2":                      "4.2, 4.1, 4.0 or 3",
		"S3_ENDPOINT=minio:9000":             "https://HOST",
		"S3_ENDPOINT=https://h/bucket":       "https://HOST",
		"S3_REGION='us east'":                "region",
		"ENCRYPT=AGE-SECRET-KEY-1QQQ":        "private key",
		"ENCRYPT='ssh-ed25519 AAAA'":         "neither a public key of age",
		"ENCRYPT='age1a age1a'":              "twice",
		"TARGET=sftp://u:p@host/x":           "a password",
		"TARGET=ftp://host/x":                "sftp://USER@HOST/PATH",
		"TARGET='/var/crash https://a/ b'":   "neither an absolute path",
		"TARGET='https://a/x https://a/x'":   "twice",
		"MODE=emergency\nENCRYPT=age1x":      "not encrypted",
		"MODE=emergency\nTARGET=nfs:h:/e":    "directories only",
		"MODE=emergency\nTARGET=s3://bucket": "directories only",
	} {
		c := Default()
		err := c.apply("f", line)
		if err == nil {
			err = c.checkMode()
		}
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want an error with %q", line, err, part)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for v, want := range map[string]struct {
		host  string
		port  int
		plain bool
	}{
		"https://s3.example.org":      {"s3.example.org", 443, false},
		"https://s3.example.org:8443": {"s3.example.org", 8443, false},
		"http://192.0.2.1":            {"192.0.2.1", 80, true},
		"http://192.0.2.1:443":        {"192.0.2.1", 443, true},
		"http://[2001:db8::1]:9000/":  {"2001:db8::1", 9000, true},
	} {
		s, plain, err := Endpoint(v)
		if err != nil || s.Host != want.host || s.Port != want.port || plain != want.plain {
			t.Errorf("%s: got %+v, %v, %v", v, s, plain, err)
		}
	}
}

// Messages are in the journal, which more people read than the file.
func TestSecretsInMessages(t *testing.T) {
	for line, want := range map[string]string{
		"ENCRYPT=AGE-SECRET-KEY-1HIDDEN":                      "ENCRYPT=AGE-SECRET-KEY-...: this is a private key",
		"ENCRYPT='age1aaa AGE-SECRET-KEY-1HIDDEN'":            "ENCRYPT=age1aaa AGE-SECRET-KEY-...: this is a private key",
		"TARGET='/var/crash sftp://crash:HIDDEN@host/srv'":    "TARGET=/var/crash sftp://crash:...@host/srv: \"sftp://crash:...@host/srv\" is not ",
		"TARGET=https://:HIDDEN@host/srv":                     "TARGET=https://:...@host/srv: ",
		"AGE-SECRET-KEY-1HIDDEN":                              "AGE-SECRET-KEY-...",
		"TARGET=sftp://crash@[2001:db8::1]:22/a sftp://b@c:d": "TARGET=sftp://crash@[2001:db8::1]:22/a sftp://b@c:d: ",
	} {
		c := Default()
		err := c.apply("ukdump.conf", line+"\n")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "HIDDEN") {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}
