package test

import (
	"fmt"

	"ukdump/internal/vmtest"
)

// kernelFaults are capture kernels that cannot work fully.
var kernelFaults = append(reservations(),
	fault{name: "no-console", ci: true, words: "console=null", want: want{outcomes: complete}},
	fault{name: "no-vmcore", byHand: true, want: want{outcomes: nothing, says: "not started by a crash"}},
	fault{name: "b9-not-flattened", want: want{outcomes: complete, format: "kdump-compressed"}},
	fault{name: "b11-btrfs-subvolume", fs: "btrfs",
		mkfs: "", prepare: "btrfs subvolume create /dump/@crash && umount /dump && mount -o subvol=@crash LABEL=dump /dump",
		repair: "mkdir -p /dump && mount -o subvol=@crash LABEL=dump /dump", noEarlier: true,
		want: want{outcomes: complete, dir: "/dump"}},
)

// warned loads, and requires that load warns of a problem and verify reports it.
func warned(problem string) string {
	return fmt.Sprintf(`kdumpctl load >$out/load.txt 2>&1 || fail "load: $(cat $out/load.txt)"
grep -q "warning: .*%[1]s" $out/load.txt || fail "no warning: $(cat $out/load.txt)"
kdumpctl verify >$out/verify.txt 2>&1 && fail "verify: $(cat $out/verify.txt)"
grep -q "PROBLEM *memory .*%[1]s" $out/verify.txt || fail "no problem: $(cat $out/verify.txt)"
kdumpctl announce --watch`, problem)
}

// announced requires that the announcement of the crash has a text.
func announced(text string) string {
	return fmt.Sprintf(`kdumpctl announce >$out/announced.txt 2>&1
cat $out/announced.txt
grep -q "%s" $out/announced.txt`, text)
}

// reservations are too small, in steps. kdumpctl may refuse an image that
// cannot fit, or the capture kernel may run out of memory. In both cases the
// machine comes back by the panic= of one of the kernels.
func reservations() (list []fault) {
	list = append(list,
		// kdumpctl knows before the crash, and names the cause after it.
		fault{name: "memory-too-small", ci: true, pc: true, reservation: 64,
			load: warned("too small to capture a crash"), check: announced("the likely cause: 64.0 MiB were reserved for it"),
			want: want{outcomes: nothing, panics: true}},
		// Memory above 4 GiB, which a controller with addresses of 32 bits cannot use.
		fault{name: "memory-out-of-reach", pc: true, crashkernel: "crashkernel=192M,high crashkernel=0,low", memory: 3 << 10,
			fs: "ext4", bus: vmtest.IDE, alone: true,
			load: warned("ata_piix, the controller of"), check: announced("the likely cause: /dump: ata_piix"),
			want: want{outcomes: nothing}},
		fault{name: "memory-in-reach", pc: true, crashkernel: "crashkernel=192M,high crashkernel=72M,low", memory: 3 << 10,
			fs: "ext4", bus: vmtest.IDE, alone: true,
			load: "kdumpctl load 2>&1 | tee $out/load.txt\n! grep 'too small\\|controller of' $out/load.txt || return 1\nkdumpctl verify | grep 'ok *memory'",
			want: want{outcomes: complete, dir: "/dump"}})
	for mib := 48; mib <= 96; mib += 16 {
		list = append(list, fault{name: fmt.Sprintf("reservation-%d-mib", mib), reservation: mib,
			load: "kdumpctl load || true",
			want: want{outcomes: anything, panics: true}})
	}
	return list
}
