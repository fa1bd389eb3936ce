// Stacks compares the call stacks that ukdump reads from a dump without debug
// symbols with those of crash(8) and drgn(1), which have them.
//
// Synopsis:
//
//	go run ./test/stacks [-with COMMAND] [-crash OPTIONS] [-dir DIR] [-v] DUMP VMLINUX [MODULE]...
//
// VMLINUX is the kernel with debug symbols, and MODULE a module with them. All tasks
// of the dump are unwound by all three. Frames of one task are aligned by their
// address or else by their name without suffixes of the compiler such as .isra.0;
// functions that drgn shows as inlined are left out, since a symbol table does not
// have them. Standard output is a table in Markdown, with a list of all differences
// below it. The exit status is 1 if a tool
// failed, or if one contradicts a frame without a mark and the other does not confirm it.
//
// The option -with is put in front of crash and drgn, such as "chroot ROOT" for
// tools of another release; DUMP, VMLINUX and DIR, which keeps their output, must
// have the same names there. With -v all stacks that differ are printed side by side.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"ukdump/internal/dump"
	"ukdump/internal/symbols"
	"ukdump/internal/unwind"
)

func main() {
	with := flag.String("with", "", "`command` in front of crash and drgn")
	options := flag.String("crash", "", "`options` of crash, such as --no_modules")
	dir := flag.String("dir", os.TempDir(), "`directory` for their output")
	verbose := flag.Bool("v", false, "print the stacks that differ")
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	ok, err := run(tools{with: strings.Fields(*with), crashOptions: strings.Fields(*options), dir: *dir, dump: flag.Arg(0), vmlinux: flag.Arg(1), modules: flag.Args()[2:]}, *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stacks:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(t tools, verbose bool) (bool, error) {
	d, err := dump.Open(t.dump)
	if err != nil {
		return false, err
	}
	defer d.Close()
	k, err := symbols.Open(d, d.Info(), d.Machine())
	if err != nil {
		return false, err
	}
	u, err := unwind.New(k)
	if err != nil {
		return false, err
	}
	ours, err := ownStacks(d, k, u)
	if err != nil {
		return false, err
	}
	labels, err := readELF(t.vmlinux, d.Info())
	if err != nil {
		return false, err
	}
	fmt.Printf("%s, %d tasks, by %s\n\n", d.Info().Release(), len(ours), u.Method())
	ok := true
	refs := []struct {
		name string
		get  func(map[uint64]task) (map[uint64]task, error)
		list map[uint64]task
	}{{name: "crash", get: t.crash}, {name: "drgn", get: t.drgn}}
	for i := range refs {
		if refs[i].list, err = refs[i].get(ours); err != nil {
			fmt.Printf("%s failed: %v\n\n", refs[i].name, err)
			ok = false
		}
	}
	var results []*result
	for i, ref := range refs {
		if ref.list != nil {
			results = append(results, compareTasks(ref.name, ours, ref.list, refs[1-i].list, labels))
		}
	}
	printTable(os.Stdout, results)
	for _, r := range results {
		r.print(os.Stdout, verbose)
		ok = ok && r.contradicts == r.confirmed && r.skipped == 0
	}
	return ok, nil
}
