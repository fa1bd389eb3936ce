// Package bootloader finds the boot loaders of a machine and computes what has to change
// so that the next boot gets other words on the kernel's command line. It reads only: who
// uses it writes the files and runs the commands.
package bootloader

import "io/fs"

// A System is a machine whose files are below Root.
type System struct {
	Root string // a directory, "" for /
}

// An Edit is a change of a command line: Words replace all words of the parameter Name,
// in the place of the first of them, or at the end. Without Words the parameter goes.
type Edit struct {
	Name  string   // such as "crashkernel"
	Words []string // such as "crashkernel=512M,high", "crashkernel=64M,low"
}

// A Loader knows the files of one boot loader, or of one tool that writes them.
type Loader interface {
	// Name is what --loader= calls it.
	Name() string

	// Find looks for the loader. It returns nil if nothing of it is installed, and an
	// error only if that cannot be told.
	Find(s *System) (*Found, error)

	// Plan computes the changes for e. The plan has no files and no commands if the next
	// boot needs no change. Errors name the file, and the line if there is one.
	Plan(s *System, e Edit) (*Plan, error)

	// Next reads, from what the loader itself will read, the entries that can be booted
	// next. It is called before the changes and after the commands of a plan.
	Next(s *System) ([]Entry, error)
}

// Booted says whether a loader started the running kernel.
type Booted int

// What is known of the running kernel's loader.
const (
	Unknown Booted = iota
	No
	Yes
)

// Found is an installed loader.
type Found struct {
	Loader  string   // its name
	Version string   // "" if not known
	Files   []string // what was found: paths as on the machine, most important first
	Booted  Booted
	Because string // the fact behind Booted: "the EFI variable LoaderInfo is systemd-boot 257.9"
}

// A Plan is what has to change.
type Plan struct {
	Files    []File
	Commands []Command // in this order, after all files are written
	// Notes are sentences for the user, such as a file that is left alone.
	Notes []string
	// Manual is what the user has to do instead, if this package changes nothing.
	Manual string
}

// A File is a file to be written.
type File struct {
	Path     string // as on the machine: without the root, and without symbolic links
	Old, New []byte // nil: it is not there
	Mode     fs.FileMode
}

// A Command is one that has to run after the files are written, such as update-grub.
type Command struct {
	Args []string // the first is a path or a name in $PATH
	Why  string   // "writes /boot/grub/grub.cfg"
	// Undo takes the effect back after the old files are in their places again. nil: by the
	// same command.
	Undo []string
	// Writes are paths that the command writes, to be saved before it runs. A pattern of
	// filepath.Match is allowed.
	Writes []string
}

// An Entry is something that the loader can boot.
type Entry struct {
	Title   string `json:"title"`
	Source  string `json:"source"`  // the file that has the command line, with ":LINE" if it is one of many
	Cmdline string `json:"cmdline"` // as the kernel gets it, without the quotes of the file
	Default bool   `json:"default"` // what boots if nobody chooses, as far as that is known
}
