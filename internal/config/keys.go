package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ukdump/internal/plan"
)

// key is one key of the configuration: how its value gets into a Config. An
// empty value never reaches set unless the default is empty.
type key struct {
	name string
	def  string
	set  func(c *Config, value string) error
}

// keys is in the order of ukdump.conf(5).
var keys = []key{
	{"KERNEL", "", func(c *Config, v string) error {
		if v != "" && !filepath.IsAbs(v) && !isRelease(v) {
			return errors.New("neither an absolute path nor a kernel release as uname -r prints it")
		}
		c.Kernel = v
		return nil
	}},
	{"INITRAMFS", "", func(c *Config, v string) error {
		if v != "" && !filepath.IsAbs(v) {
			return errors.New("not an absolute path")
		}
		c.Initramfs = v
		return nil
	}},
	{"BOOT_OPTIONS", "", func(c *Config, v string) error {
		c.BootOptions = v
		return nil
	}},
	{"TARGET", "/var/crash raw:swap", setTargets},
	{"RAW_OVERWRITE", "no", func(c *Config, v string) error { return yesNo(&c.RawOverwrite, v) }},
	{"NFS_VERSION", "4.2", func(c *Config, v string) error { return choose(&c.NFSVersion, v, "4.2", "4.1", "4.0", "3") }},
	{"SSH_KEY", "", func(c *Config, v string) error { return setFile(&c.SSHKey, v) }},
	{"HTTP_TOKEN", "", func(c *Config, v string) error { return setFile(&c.HTTPToken, v) }},
	{"HTTP_CERT", "", func(c *Config, v string) error { return setFile(&c.HTTPCert, v) }},
	{"HTTP_CA", "", func(c *Config, v string) error { return setFile(&c.HTTPCA, v) }},
	{"S3_ENDPOINT", "", setEndpoint},
	{"S3_REGION", "us-east-1", func(c *Config, v string) error {
		if !isWord(v, "-") {
			return errors.New("not a region such as us-east-1")
		}
		c.S3Region = v
		return nil
	}},
	{"S3_KEY", "", func(c *Config, v string) error { return setFile(&c.S3Key, v) }},
	{"ENCRYPT", "", setEncrypt},
	{"ENCRYPT_REPORT", "yes", func(c *Config, v string) error { return yesNo(&c.EncryptReport, v) }},
	{"EVIDENCE", Pstore, setEvidence},
	{"DUMP", "vmcore", func(c *Config, v string) error {
		var word string
		err := choose(&word, v, "vmcore", "log")
		c.LogOnly = word == "log"
		return err
	}},
	{"DUMP_LEVEL", "31", func(c *Config, v string) error {
		n, err := strconv.ParseUint(v, 10, 8)
		if err != nil || n > 31 {
			return errors.New("not a number from 0 to 31")
		}
		c.DumpLevel = int(n)
		return nil
	}},
	{"COMPRESS", "auto", func(c *Config, v string) error {
		return choose(&c.Compress, v, "auto", "zstd", "lzo", "snappy", "zlib", "none")
	}},
	{"CPUS", "auto", func(c *Config, v string) error {
		if v == "auto" {
			c.CPUs = 0
			return nil
		}
		n, err := strconv.ParseUint(v, 10, 8)
		if err != nil || n < 1 || n > MaxCPUs {
			return fmt.Errorf("not auto or a number from 1 to %d", MaxCPUs)
		}
		c.CPUs = int(n)
		return nil
	}},
	{"KEEP", "5", func(c *Config, v string) error {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return errors.New("not a number of dumps; 0 is no limit")
		}
		c.Keep = int(n)
		return nil
	}},
	{"MAX_USE", "0", func(c *Config, v string) (err error) {
		c.MaxUse, err = parseSize(v)
		return err
	}},
	{"KEEP_FREE", "0", func(c *Config, v string) (err error) {
		c.KeepFree, err = parseSize(v)
		return err
	}},
	{"FINAL_ACTION", "reboot", func(c *Config, v string) error {
		return choose(&c.FinalAction, v, plan.Reboot, plan.Poweroff, plan.Halt)
	}},
	{"FAILURE_ACTION", "reboot", func(c *Config, v string) error {
		return choose(&c.FailureAction, v, plan.Reboot, plan.Poweroff, plan.Halt, plan.Shell)
	}},
	{"SHELL_TIMEOUT", "10min", func(c *Config, v string) (err error) {
		if c.ShellTimeout, err = parseTimeout(v); err != nil {
			return errors.New("not a time from 60s to 168h, such as 600 (seconds), 10min or 1h 30min; 0 is no limit")
		}
		return nil
	}},
	{"TIMEOUT", "0", func(c *Config, v string) (err error) {
		c.Timeout, err = parseTimeout(v)
		return err
	}},
	{"MODULES", "", func(c *Config, v string) error {
		names := strings.Fields(v)
		for _, n := range names {
			if !isWord(n, "_-") {
				return fmt.Errorf("%q is not the name of a module; names are separated by spaces", brief(n))
			}
		}
		c.Modules = names
		return nil
	}},
	{"MOTD", "no", func(c *Config, v string) error { return yesNo(&c.Motd, v) }},
	{"HOOK", "", func(c *Config, v string) error {
		if v != "" && !filepath.IsAbs(v) {
			return errors.New("not an absolute path")
		}
		c.Hook = v
		return nil
	}},
	{"HOOK_TIMEOUT", "60s", func(c *Config, v string) error {
		d, ok := parseTime(v)
		if !ok || d < time.Second {
			return errors.New("not a time from 1s to 168h, such as 60 (seconds) or 5min")
		}
		c.HookTimeout = d
		return nil
	}},
	{"MODE", "", func(c *Config, v string) error {
		if v == "" {
			c.mode = ""
			return nil
		}
		return choose(&c.mode, v, dedicated, emergency)
	}},
}

// choose sets dst to v if that is one of the allowed values.
func choose[T ~string](dst *T, v string, allowed ...T) error {
	if !slices.Contains(allowed, T(v)) {
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		return fmt.Errorf("not %s", orList(names))
	}
	*dst = T(v)
	return nil
}

func yesNo(dst *bool, v string) error {
	var word string
	err := choose(&word, v, "yes", "no")
	*dst = word == "yes"
	return err
}

func orList(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// timeUnits are those of systemd.time(7) that make sense for a dump.
var timeUnits = map[string]time.Duration{
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
}

// maxTimeout is the longest deadline that plan.Validate accepts.
const maxTimeout = 7 * 24 * time.Hour

// parseTimeout reads the limit of something: 0, or a minute at least.
func parseTimeout(v string) (time.Duration, error) {
	sum, ok := parseTime(v)
	if !ok || sum > 0 && sum < minTimeout {
		return 0, errors.New("not a time from 60s to 168h, such as 600 (seconds), 10min or 1h 30min; 0 is derived from the size of the memory")
	}
	return sum, nil
}

// parseTime reads "600", "10min" or "1h 30min", maxTimeout at most.
func parseTime(v string) (sum time.Duration, ok bool) {
	rest := strings.TrimSpace(v)
	if rest == "" {
		return 0, false
	}
	for rest != "" {
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return 0, false
		}
		rest = strings.TrimLeft(rest[len(digits):], " ")
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))]
		unit, ok := timeUnits[name]
		if !ok || n > uint64(maxTimeout/unit) {
			return 0, false
		}
		if sum += time.Duration(n) * unit; sum > maxTimeout {
			return 0, false
		}
		rest = strings.TrimLeft(rest[len(name):], " ")
	}
	return sum, true
}

// minTimeout is the shortest total: starting the kernel and finishing the dump
// take most of it.
const minTimeout = time.Minute

// isRelease reports whether s can be a kernel release, which is also safe as the name
// of a directory.
func isRelease(s string) bool {
	return s[0] != '.' && s[0] != '-' && isWord(s, "._+~-")
}

func isWord(s, punctuation string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(punctuation, r) {
			return false
		}
	}
	return s != ""
}

func findKey(name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// unknownKey returns the error, with the nearest known key if one is near.
func unknownKey(name string) string {
	best, distance := "", 1<<30
	upper := strings.ToUpper(name)
	for _, k := range keys {
		if d := editDistance(upper, k.name); d < distance {
			best, distance = k.name, d
		}
	}
	if distance <= max(1, len(best)/3) {
		return fmt.Sprintf("unknown key %s (did you mean %s?)", brief(name), best)
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	return fmt.Sprintf("unknown key %s (known are %s)", brief(name), strings.Join(names, ", "))
}

// editDistance returns the Levenshtein distance in bytes. Only the beginning of
// a long a counts, as no key is near it anyway.
func editDistance(a, b string) int {
	a = a[:min(len(a), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
