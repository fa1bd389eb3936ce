package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ukdump/internal/kexec"
	"ukdump/internal/kimage"
)

// load loads an image as kdumpctl would, with the kernel and the command line
// of the last kdumpctl load, but does not check the image. A word is appended
// to that command line; -WORD removes every word with that prefix.
func load(image string, words []string) error {
	b, err := os.ReadFile("/var/lib/ukdump/loaded.json")
	if err != nil {
		return err
	}
	var last struct{ Kernel, Cmdline string }
	if err := json.Unmarshal(b, &last); err != nil {
		return err
	}
	// The kernel would refuse the changed modules.
	cmdline := strings.Fields(last.Cmdline)
	for _, w := range append([]string{"-lockdown="}, words...) {
		if less, ok := strings.CutPrefix(w, "-"); ok {
			cmdline = slices.DeleteFunc(cmdline, func(w string) bool { return strings.HasPrefix(w, less) })
		} else {
			cmdline = append(cmdline, w)
		}
	}
	kernel, err := os.Open(last.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := os.Open(image)
	if err != nil {
		return err
	}
	defer initrd.Close()
	line := strings.Join(cmdline, " ")
	err = unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), line, unix.KEXEC_FILE_ON_CRASH)
	if errors.Is(err, unix.ENOSYS) { // arm64
		err = loadSegments(last.Kernel, initrd, line)
	}
	if err != nil {
		return fmt.Errorf("kexec_file_load: %w", err)
	}
	fmt.Println("loaded past the checks:", image, line)
	return nil
}

// loadSegments loads with kexec_load(2), as kdumpctl does without the other call.
func loadSegments(kernel string, initrd *os.File, line string) error {
	im, err := kimage.Open(kernel)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "Image-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(im.Loadable()); err != nil {
		return err
	}
	return kexec.New("/").Load(&kexec.Kernel{File: f, InitSize: im.InitSize, Signed: true}, initrd, 0, line)
}
