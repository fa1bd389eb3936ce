// Package plan is the contract between the builder on the healthy system and PID 1 of
// the capture kernel: the modules to load, the targets, the collectors, the deadlines
// and the final action.
//
// It imports the standard library only, because PID 1 links it.
package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Version is the version of the plan's format. Parse accepts no other.
const Version = 3

// Path is where the plan lies inside the image.
const Path = "etc/ukdump/plan.json"

// Other paths of PID 1 in the image, without leading slash.
const (
	LibraryDir = "lib" // libraries of the collectors

	// Only if the user asked for a shell, and then one of the two.
	RescuePath = "bin/ukdump-rescue"
	ShellPath  = "bin/busybox"
)

// StatePath is the file that the worker keeps in the capture kernel. It is an object of
// JSON whose field Report is a crashdir.Report.
const StatePath = "run/ukdump/state.json"

// FinalEnv is the variable that tells the shell the action that follows its end.
const FinalEnv = "UKDUMP_FINAL"

// Exit statuses by which the shell asks PID 1 for something else than that action.
const (
	ExitCapture  = 80 // capture again, with new deadlines
	ExitReboot   = 81
	ExitPoweroff = 82
	ExitHalt     = 83
)

// Plan is everything PID 1 needs to know. The zero value is not valid.
type Plan struct {
	Version  int    `json:"version"`
	Software string `json:"software"` // version of ukdump that built the image

	Kernel Kernel `json:"kernel"`
	Host   Host   `json:"host"`

	Modules    []Module    `json:"modules,omitempty"`    // in load order
	Targets    []Target    `json:"targets"`              // tried in order; none if there is only evidence
	Evidence   []Target    `json:"evidence,omitempty"`   // for log and report only, where no target could take them
	Pstore     bool        `json:"pstore,omitempty"`     // as the last resort leave the log to pstore, by a panic
	MakeSpace  bool        `json:"make_space,omitempty"` // remove expendable old dumps where there is no room for the new one
	LogOnly    bool        `json:"log_only,omitempty"`   // save the kernel log and the report, and no vmcore
	Collectors []Collector `json:"collectors"`           // tried in order; none exactly if LogOnly
	Watchdogs  []Watchdog  `json:"watchdogs,omitempty"`
	// Remote is a *netplan.Plan, for kdumpinit-net alone, or the decoded JSON of one.
	Remote    any       `json:"remote,omitempty"`
	Deadlines Deadlines `json:"deadlines"`

	FinalAction   Action `json:"final_action"`   // after a complete dump, or the log if LogOnly
	FailureAction Action `json:"failure_action"` // after anything else

	ShellTimeout int `json:"shell_timeout,omitempty"` // seconds without input that end the shell; 0 is no limit
}

// Kernel names the kernel that the image was built for.
type Kernel struct {
	Release string `json:"release"` // as uname -r prints it
	Arch    string `json:"arch"`    // GOARCH: amd64 or arm64
}

// Host identifies the machine in reports.
type Host struct {
	Name      string `json:"name,omitempty"`
	MachineID string `json:"machine_id,omitempty"` // machine-id(5)
}

// Module is one module to load with finit_module(2).
type Module struct {
	Name   string `json:"name"`             // as in /proc/modules
	Path   string `json:"path"`             // inside the image, without leading slash
	Params string `json:"params,omitempty"` // "a=1 b=2"
}

// Target is one place for a dump.
type Target struct {
	Kind       Kind       `json:"kind"`
	Dir        string     `json:"dir"`              // as the user names it on the healthy system: /var/crash, raw:PARTUUID=…
	Filesystem Filesystem `json:"filesystem"`       // to mount; of a raw device, its content at build time
	Path       string     `json:"path,omitempty"`   // the directory inside the mounted file system, absolute; not for raw devices
	Layers     []Layer    `json:"layers,omitempty"` // to assemble for it, in this order
	Device     Device     `json:"device"`           // of the file system at build time

	Mount *SystemMount `json:"mount,omitempty"` // of the kind Mounted alone
}

// Kind is how a dump is written to a target.
type Kind string

// The kinds of targets.
const (
	Directory Kind = "directory" // files in a directory of a file system
	Raw       Kind = "raw"       // a block device without a mounted file system, see package rawdump
	// For kdumpinit-net alone, see package netplan.
	NFS    Kind = "nfs"    // a directory that an NFS server exports
	Server Kind = "server" // files at a server: sftp, https or s3
)

// Remote reports whether targets of this kind are reached over the network.
func (k Kind) Remote() bool { return k == NFS || k == Server }

// Filesystem says which file system to mount and how, or how to recognise a raw
// device. A raw device that held nothing known has neither Type nor UUID.
type Filesystem struct {
	Type    string `json:"type,omitempty"`    // as in /proc/filesystems, or swap
	UUID    string `json:"uuid,omitempty"`    // as blkid(8) prints it, lower case except vfat
	Options string `json:"options,omitempty"` // data argument of mount(2): subvolid=256
}

// Device describes the block device at build time. Names change between boots, so it
// is a hint for the search order and for messages, never the identity; but PartUUID
// and Serial distinguish the device from a copy, which has the same content.
type Device struct {
	Name     string `json:"name"`               // kernel name: vda1
	Path     string `json:"path,omitempty"`     // its sysfs path below /sys/devices
	PartUUID string `json:"partuuid,omitempty"` // of a partition, as blkid(8) prints it; the identity of a raw device that holds nothing
	Serial   string `json:"serial,omitempty"`   // of the disk, as fsid.Serial returns it
	Volume   string `json:"volume,omitempty"`   // of a raw logical volume, that of its layer; its identity
	ID       string `json:"id,omitempty"`       // of a layer's member: the part of its content that differs between members
}

// Collector is one way to save /proc/vmcore.
type Collector struct {
	Name string `json:"name"` // for reports: "makedumpfile -d 31"
	// Argv is the argument vector. The word OutputArg stands for the output
	// file, VmcoreArg for the input, LimitArg for the most bytes that the output
	// may have, InfoArg for the arguments of makedumpfile.InfoArgs.
	Argv []string `json:"argv"`
	// Stream is the argument vector for a raw device: it writes the flattened format
	// (makedumpfile(8), -F) to its standard output. A collector without it is not used
	// there.
	Stream []string `json:"stream,omitempty"`
	// Filters says that it omits pages by their use in the kernel, so its output is
	// only as good as its knowledge of that kernel.
	Filters bool `json:"filters,omitempty"`
	// Resumes says that it continues at the end of an existing output.
	Resumes bool `json:"resumes,omitempty"`
	// Quick says that it saves less or compresses faster than those before it, and runs
	// only after one that was too slow to end in time.
	Quick bool `json:"quick,omitempty"`
	// Parallel says that it is slower than the next one where only one processor runs.
	Parallel bool `json:"parallel,omitempty"`
}

// Pays reports whether the processors that run are enough for c.
func (c *Collector) Pays(processors int) bool { return processors > 1 || !c.Parallel }

// Placeholders in the argument vectors of a Collector.
const (
	VmcoreArg = "%vmcore"
	OutputArg = "%output"
	LimitArg  = "%limit"
	InfoArg   = "%vmcoreinfo"
)

// CopyArgv and CopyStream are the argument vectors of PID 1's own collector,
// which copies every page that is not zero: as ELF to a file, in the flattened
// format to a raw device.
var (
	CopyArgv   = []string{"/init", "copy", LimitArg, OutputArg}
	CopyStream = []string{"/init", "copy", LimitArg}
)

// Watchdog is a watchdog device that was active on the healthy system and so
// may still be counting in the capture kernel.
type Watchdog struct {
	Name     string `json:"name"`     // watchdog0
	Identity string `json:"identity"` // as in /sys/class/watchdog/*/identity
	Timeout  int    `json:"timeout"`  // seconds
}

// Deadlines are in seconds. All but Total count from the beginning of their own
// step.
type Deadlines struct {
	Total  int `json:"total"`  // from the boot of the capture kernel to the final action
	Module int `json:"module"` // loading of one module
	Device int `json:"device"` // until the target's device appears
	Mount  int `json:"mount"`  // mounting of one target, journal replay included
	Stall  int `json:"stall"`  // collector without progress
	Finish int `json:"finish"` // report, umount and everything else after the dump; once more if that has to be done again
}

// Action is the last action of PID 1.
type Action string

// The actions. Shell falls back to Reboot if the image has no shell.
const (
	Reboot   Action = "reboot"
	Poweroff Action = "poweroff"
	Halt     Action = "halt"
	Shell    Action = "shell"
)

// VersionError reports a plan of a format version that this program does not support.
type VersionError struct{ Got int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("plan has format version %d, this program supports version %d", e.Got, Version)
}

// Parse decodes and validates a plan. Unknown fields, trailing data and any
// other version are errors; the last is a *VersionError.
func Parse(data []byte) (*Plan, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &v); err != nil { // also for data after the end
		return nil, fmt.Errorf("parse plan: %w", err)
	}
	if v.Version != Version {
		return nil, &VersionError{Got: v.Version}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	p := new(Plan)
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("parse plan: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// Encode validates p and returns it as indented JSON with a final newline. The
// same plan always gives the same bytes.
func (p *Plan) Encode() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Validate returns an error for the first entry of p that PID 1 cannot use.
func (p *Plan) Validate() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("invalid plan: "+format, a...)
	}
	if p.Version != Version {
		return &VersionError{Got: p.Version}
	}
	if p.Kernel.Release == "" {
		return bad("kernel.release is empty")
	}
	if a := p.Kernel.Arch; a != "amd64" && a != "arm64" {
		return bad("kernel.arch is %q, not amd64 or arm64", a)
	}
	for i, m := range p.Modules {
		if m.Name == "" {
			return bad("modules[%d].name is empty", i)
		}
		if !inside(m.Path) {
			return bad("modules[%d].path %q is not a clean relative path", i, m.Path)
		}
	}
	if len(p.Targets)+len(p.Evidence) == 0 {
		return bad("no targets")
	}
	for i, t := range p.Targets {
		if p.Remote != nil && t.Kind.Remote() {
			continue // see netplan.Of
		}
		if err := t.validate(); err != nil {
			return bad("targets[%d].%w", i, err)
		}
	}
	for i, t := range p.Evidence {
		if err := t.validate(); err != nil {
			return bad("evidence[%d].%w", i, err)
		}
		if t.Kind == Raw {
			return bad("evidence[%d].kind is %q, not %s", i, t.Kind, Directory)
		}
	}
	if (len(p.Collectors) == 0) != p.LogOnly {
		return bad("collectors and log_only contradict each other")
	}
	for i, c := range p.Collectors {
		if len(c.Argv) == 0 || !path.IsAbs(c.Argv[0]) {
			return bad("collectors[%d].argv does not begin with an absolute path", i)
		}
		if n := count(c.Argv, OutputArg); n != 1 {
			return bad("collectors[%d].argv names %s %d times, not once", i, OutputArg, n)
		}
		if len(c.Stream) > 0 && !path.IsAbs(c.Stream[0]) {
			return bad("collectors[%d].stream does not begin with an absolute path", i)
		}
		if count(c.Stream, OutputArg) > 0 {
			return bad("collectors[%d].stream names %s, but it writes to its standard output", i, OutputArg)
		}
	}
	if n := len(p.Collectors); n > 0 && !slices.ContainsFunc(p.Collectors, func(c Collector) bool { return c.Pays(1) && !c.Quick }) {
		return bad("collectors[0] to [%d] leave none for one processor", n-1)
	}
	d := p.Deadlines
	for _, x := range []struct {
		name string
		sec  int
	}{{"total", d.Total}, {"module", d.Module}, {"device", d.Device}, {"mount", d.Mount}, {"stall", d.Stall}, {"finish", d.Finish}} {
		// A week: longer than any dump, short enough for time.Duration.
		if x.sec <= 0 || x.sec > 7*24*3600 {
			return bad("deadlines.%s is %d seconds, not 1 to 604800", x.name, x.sec)
		}
	}
	if 2*d.Finish >= d.Total {
		return bad("deadlines.finish is %d seconds, twice of which leave no time of a total of %d", d.Finish, d.Total)
	}
	switch p.FinalAction {
	case Reboot, Poweroff, Halt:
	default:
		return bad("final_action is %q, not reboot, poweroff or halt", p.FinalAction)
	}
	switch p.FailureAction {
	case Reboot, Poweroff, Halt, Shell:
	default:
		return bad("failure_action is %q, not reboot, poweroff, halt or shell", p.FailureAction)
	}
	if p.ShellTimeout < 0 {
		return bad("shell_timeout is %d seconds", p.ShellTimeout)
	}
	return nil
}

func (t *Target) validate() error {
	switch t.Kind {
	case Directory:
		switch {
		case !path.IsAbs(t.Path) || path.Clean(t.Path) != t.Path:
			return fmt.Errorf("path %q is not a clean absolute path", t.Path)
		case t.Filesystem.Type == "":
			return errors.New("filesystem.type is empty")
		case t.Filesystem.UUID == "":
			return errors.New("filesystem.uuid is empty")
		}
	case Mounted:
		if !path.IsAbs(t.Path) || path.Clean(t.Path) != t.Path {
			return fmt.Errorf("path %q is not a clean absolute path", t.Path)
		}
		return t.Mount.validate()
	case Raw:
		// Names change between boots: writing to a wrong device is worse than
		// not to write.
		if t.Device.PartUUID == "" && t.Filesystem.UUID == "" && t.Device.Volume == "" {
			return errors.New("device.partuuid and filesystem.uuid are empty: nothing identifies the raw device")
		}
		if n := len(t.Layers); t.Device.Volume != "" && (n == 0 || t.Layers[n-1].UUID != t.Device.Volume) {
			return errors.New("device.volume is not that of the last layer")
		}
	default:
		return fmt.Errorf("kind is %q, not %s or %s", t.Kind, Directory, Raw)
	}
	for i := range t.Layers {
		if err := t.Layers[i].validate(); err != nil {
			return fmt.Errorf("layers[%d].%w", i, err)
		}
	}
	return nil
}

func count(words []string, word string) (n int) {
	for _, w := range words {
		if w == word {
			n++
		}
	}
	return n
}

// inside reports whether p is a relative path that cannot leave the image.
func inside(p string) bool {
	return p != "" && p != "." && !path.IsAbs(p) && path.Clean(p) == p && !strings.HasPrefix(p, "../") && p != ".."
}
