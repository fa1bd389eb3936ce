package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// memory takes mib MiB of anonymous memory, of which each page is half random and half
// text, says so and keeps it.
func memory(mib int) error {
	b, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	r := rand.NewChaCha8([32]byte{1})
	for page := 0; page < len(b); page += 4096 {
		r.Read(b[page : page+2048])
		for i := page + 2048; i < page+4096; i += 16 {
			copy(b[i:], "half of a page.\n")
		}
	}
	if _, err := os.Stdout.WriteString("filled\n"); err != nil {
		return err
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
	return nil
}

// files makes empty files, which fill the kernel's slabs with inodes and dentries: about 1 KiB
// for each on tmpfs.
func files(dir string, count int) error {
	for i := range count {
		fd, err := unix.Open(fmt.Sprintf("%s/an-ordinary-name-%d", dir, i), unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return nil
}
