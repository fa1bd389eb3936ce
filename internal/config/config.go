// Package config reads ukdump.conf(5): KEY=VALUE files that are parsed, never
// run. Every key has a default that works.
package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"ukdump/internal/plan"
	"ukdump/internal/target"
)

// Places below the root directory. Load reads those of other directories, too.
const (
	File   = "etc/ukdump.conf"
	DropIn = "etc/ukdump.conf.d" // its *.conf are read in lexical order
)

// maxFileSize is the most bytes a configuration file can have.
const maxFileSize = 1 << 20

// Config is the configuration of ukdump, with defaults for keys that no file sets.
type Config struct {
	Kernel        string          // KERNEL: absolute path or release of the capture kernel; "" is the running kernel
	Initramfs     string          // INITRAMFS: absolute path of the distribution's own initramfs for emergency mode; "" is searched for
	BootOptions   string          // BOOT_OPTIONS: appended to the capture kernel's command line
	Targets       []target.Target // TARGET: the first that works gets the dump
	RawOverwrite  bool            // RAW_OVERWRITE: a raw device may hold something else than swap
	Evidence      []string        // EVIDENCE: clean absolute directories and Pstore, for log and report where no target could take them
	LogOnly       bool            // DUMP=log: the kernel log and the report, and no vmcore
	DumpLevel     int             // DUMP_LEVEL: 0 to 31, as makedumpfile(8) -d
	Compress      string          // COMPRESS: of the vmcore: auto, zstd, lzo, snappy, zlib or none
	CPUs          int             // CPUS: processors that the capture kernel starts; 0 is auto
	Keep          int             // KEEP: dumps in each directory; 0 is no limit
	MaxUse        int64           // MAX_USE: bytes of all dumps in a directory; 0 is no limit
	KeepFree      int64           // KEEP_FREE: bytes that dumps leave free on the file system; 0 is no limit
	FinalAction   plan.Action     // FINAL_ACTION: reboot, poweroff or halt
	FailureAction plan.Action     // FAILURE_ACTION: the same or shell
	ShellTimeout  time.Duration   // SHELL_TIMEOUT: time without input that ends the shell; 0 is no limit
	Timeout       time.Duration   // TIMEOUT: from the boot of the capture kernel to the final action; 0 is derived from the size of the RAM
	Modules       []string        // MODULES: names of modules to load in addition to those that are needed

	// For targets at servers. Files are clean absolute paths.
	SSHKey     string // SSH_KEY: private key; "" is DefaultSSHKey
	NFSVersion string // NFS_VERSION: 4.2, 4.1, 4.0 or 3
	HTTPToken  string // HTTP_TOKEN: file with a bearer token; "" for none
	HTTPCert   string // HTTP_CERT: file with a client certificate and its key, PEM; "" for none
	HTTPCA     string // HTTP_CA: file with the certificates to trust, PEM; "" for those of the system
	S3Endpoint string // S3_ENDPOINT: https://HOST, https://HOST:PORT or the same with http; "" is Amazon's of S3_REGION
	S3Region   string // S3_REGION
	S3Key      string // S3_KEY: file with ACCESS:SECRET; "" is DefaultS3Key

	Encrypt       []string // ENCRYPT: public keys of age(1) and clean absolute paths of files with such keys; none for no encryption
	EncryptReport bool     // ENCRYPT_REPORT: the kernel log and the text of the report are encrypted too

	Motd        bool          // MOTD: announce new dumps at login
	Hook        string        // HOOK: absolute path of the program that is run after each announced crash; "" for none
	HookTimeout time.Duration // HOOK_TIMEOUT: of one run

	mode  mode // MODE; "" leaves it to INITRAMFS, see Emergency
	where map[string]string
	set   map[string]bool // keys with a value that is not the default's
}

// Default returns the configuration of an empty file.
func Default() *Config {
	c := &Config{where: make(map[string]string), set: make(map[string]bool)}
	for _, k := range keys {
		if k.def != "" {
			if err := k.set(c, k.def); err != nil {
				panic("default of " + k.name + ": " + err.Error()) // covered by tests
			}
		}
	}
	return c
}

// Where returns the file:line that set key, or "default".
func (c *Config) Where(key string) string {
	if w := c.where[key]; w != "" {
		return w
	}
	return "default"
}

// IsSet reports whether a file gave key a value of its own; an empty one stands
// for the default.
func (c *Config) IsSet(key string) bool { return c.set[key] }

// MaxCPUs is the most processors of a capture kernel. More do not compress faster: the
// memory is read by one makedumpfile.
const MaxCPUs = 16

// DefaultDir is where dumps go if no directory is configured.
const DefaultDir = "/var/crash"

// Files for targets at servers if no key names others.
const (
	DefaultSSHKey = "/etc/ukdump/ssh/id_ed25519"
	DefaultS3Key  = "/etc/ukdump/s3.key"
)

// DumpDirs returns the directories below root in which there can be dumps: the
// configured targets, those for evidence, and DefaultDir for raw dumps if no
// target is a directory.
func (c *Config) DumpDirs(root string) []string {
	names := c.Directories()
	if len(names) == 0 {
		names = append(names, DefaultDir)
	}
	for _, e := range c.Evidence {
		if e != Pstore && !slices.Contains(names, e) {
			names = append(names, e)
		}
	}
	var dirs []string
	for _, n := range names {
		dirs = append(dirs, filepath.Join(root, n))
	}
	return dirs
}

// apply sets the keys that the text of a file assigns. The error has all mistakes, each
// an *Error.
func (c *Config) apply(name, text string) error {
	list, bad := parse(text)
	for _, a := range list {
		if err := c.assign(name, a); err != nil {
			bad = append(bad, err)
		}
	}
	slices.SortStableFunc(bad, func(a, b *Error) int { return a.Line - b.Line })
	var errs []error
	for _, e := range bad {
		e.File = name
		errs = append(errs, e)
	}
	return joined(errs)
}

// assign sets one key.
func (c *Config) assign(name string, a assignment) *Error {
	if r, column, ok := notASCII(a.key); ok {
		return &Error{Line: a.line, Column: a.column + column - 1, Text: fmt.Sprintf("%U in the key is not ASCII", r)}
	}
	k := findKey(a.key)
	if k == nil {
		return &Error{Line: a.line, Text: unknownKey(a.key)}
	}
	value := a.value
	if value == "" {
		value = k.def
	}
	if err := k.set(c, value); err != nil {
		text := fmt.Sprintf("%s=%s: %v", a.key, brief(a.value), err)
		if r, _, ok := notASCII(a.value); ok {
			text += fmt.Sprintf(" (%U is not ASCII)", r)
		}
		return &Error{Line: a.line, Text: text}
	}
	c.set[a.key] = a.value != ""
	c.where[a.key] = fmt.Sprintf("%s:%d", name, a.line)
	return nil
}
