package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"ukdump/internal/target"
)

// setFile sets dst to an absolute path, or to "".
func setFile(dst *string, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return errors.New("not an absolute path")
	}
	if *dst = v; v != "" {
		*dst = filepath.Clean(v)
	}
	return nil
}

func setEndpoint(c *Config, v string) error {
	if v == "" {
		c.S3Endpoint = ""
		return nil
	}
	_, _, err := Endpoint(v)
	if err == nil {
		c.S3Endpoint = v
	}
	return err
}

// S3Server returns the server of S3_ENDPOINT, or Amazon's.
func (c *Config) S3Server() target.Remote {
	server, _, _ := Endpoint(c.S3URL()) // setEndpoint has checked it
	return server
}

// S3URL returns S3_ENDPOINT, or Amazon's of S3_REGION.
func (c *Config) S3URL() string {
	return cmp.Or(c.S3Endpoint, "https://s3."+c.S3Region+".amazonaws.com")
}

// Endpoint splits the value of S3_ENDPOINT. plain is true for http.
func Endpoint(v string) (server target.Remote, plain bool, err error) {
	rest, plain := strings.CutPrefix(v, "http://")
	if !plain {
		var ok bool
		if rest, ok = strings.CutPrefix(v, "https://"); !ok {
			return target.Remote{}, false, errors.New("not https://HOST or https://HOST:PORT")
		}
	}
	rest = strings.TrimSuffix(rest, "/")
	t, err := target.Parse("https://" + rest + "/")
	if err != nil || strings.Contains(rest, "/") {
		return target.Remote{}, false, errors.New("not https://HOST or https://HOST:PORT")
	}
	if server = t.Server(); plain && server.Port == 443 && !strings.HasSuffix(rest, ":443") {
		server.Port = 80
	}
	return server, plain, nil
}

// setEncrypt reads the recipients; the builder, which has the library, reads their keys.
func setEncrypt(c *Config, v string) error {
	var list []string
	for _, w := range strings.Fields(v) {
		switch {
		case filepath.IsAbs(w):
			w = filepath.Clean(w)
		case strings.HasPrefix(w, "AGE-SECRET-KEY-"):
			return errors.New("this is a private key, which must not be on this machine: write its public key, as age-keygen -y prints it")
		case !strings.HasPrefix(w, "age1"):
			return fmt.Errorf("%q is neither a public key of age, age1…, nor an absolute path of a file with such keys; they are separated by spaces", brief(w))
		}
		if slices.Contains(list, w) {
			return fmt.Errorf("%s is listed twice", brief(w))
		}
		list = append(list, w)
	}
	c.Encrypt = list
	return nil
}
