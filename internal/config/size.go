package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are powers of 1024, as in parse-size of systemd.
var sizeUnits = map[string]int64{
	"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50,
}

// minSize is the smallest size that is no mistake: a number without its unit
// would remove nearly every dump.
const minSize = 1 << 20

// parseSize reads "512M" or "10G" as bytes. 0 is 0.
func parseSize(v string) (int64, error) {
	bad := errors.New("not a size of at least 1M, such as 512M or 10G; 0 is no limit")
	digits := v[:len(v)-len(strings.TrimLeft(v, "0123456789"))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, bad
	}
	unit, ok := sizeUnits[strings.TrimSpace(v[len(digits):])]
	if !ok || n > math.MaxInt64/unit || n > 0 && n*unit < minSize {
		return 0, bad
	}
	return n * unit, nil
}
