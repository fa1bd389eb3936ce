package remote

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"strings"
	"time"
)

// awsKey signs requests with Signature Version 4 of AWS: "Authenticating Requests:
// Using the Authorization Header" in the S3 API reference.
type awsKey struct {
	access, secret, region string
}

// amzLayout is ISO 8601 as in X-Amz-Date. The date is its beginning.
const (
	amzLayout = "20060102T150405Z"
	amzDate   = len("20060102")
	amzSigned = "host;x-amz-content-sha256;x-amz-date"
)

// sign returns the fields that sign a request with an escaped path and query.
func (k awsKey) sign(method, host, path, query string, body []byte, now time.Time) []field {
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	stamp := now.UTC().Format(amzLayout)
	scope := stamp[:amzDate] + "/" + k.region + "/s3/aws4_request"
	canonical := sha256.Sum256([]byte(method + "\n" + path + "\n" + query + "\n" +
		"host:" + host + "\nx-amz-content-sha256:" + payload + "\nx-amz-date:" + stamp + "\n\n" + amzSigned + "\n" + payload))
	key := []byte("AWS4" + k.secret)
	for _, part := range []string{stamp[:amzDate], k.region, "s3", "aws4_request"} {
		key = hmacSHA256(key, part)
	}
	signature := hmacSHA256(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(canonical[:]))
	return []field{
		{"X-Amz-Content-Sha256", payload},
		{"X-Amz-Date", stamp},
		{"Authorization", "AWS4-HMAC-SHA256 Credential=" + k.access + "/" + scope + ",SignedHeaders=" + amzSigned + ",Signature=" + hex.EncodeToString(signature)},
	}
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonicalQuery returns the query of a URL, sorted and escaped.
func canonicalQuery(parameters []field) string {
	var list []string
	for _, p := range parameters {
		list = append(list, escape(p.name, "")+"="+escape(p.value, ""))
	}
	sort.Strings(list)
	return strings.Join(list, "&")
}
