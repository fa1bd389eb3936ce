package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ukdump/test/debian"
)

func TestResults(t *testing.T) {
	const name = "results.json"
	r, err := readResults(name)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), name)
	for _, flavour := range []debian.Flavour{debian.Generic, debian.Cloud} {
		rows := r.Kernels[flavour]
		if len(rows) != 5 || rows[0].Name != "ukdump" {
			t.Fatalf("%s: %+v", flavour, rows)
		}
		r.replace(flavour, rows[0])
		var table bytes.Buffer
		r.print(&table, flavour)
		if n := strings.Count(table.String(), "\n"); n != 8 {
			t.Errorf("%s: %d lines:\n%s", flavour, n, table.String())
		}
	}
	if err := r.write(again); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(again); err != nil || !bytes.Equal(got, want) {
		t.Errorf("written again, the file differs: %v\n%s", err, got)
	}
}
