package test

import (
	"time"

	"ukdump/internal/crashdir"
	"ukdump/internal/dumpfile"
)

// hurry shortens the deadlines of the plan for faults in which something hangs:
// the machine must obey any deadline.
const hurry = `plan=deadlines={"total":100,"module":8,"device":8,"mount":20,"stall":8,"finish":12}`

// collectorFaults are harmful makedumpfiles. "first …" is a fault of the first run
// only.
var collectorFaults = []fault{
	{name: "collector-exit-1", change: []string{"collector=exit1"}, want: want{outcomes: dmesgOnly, says: "cannot do it"}},
	{name: "collector-first-exit-1", ci: true, change: []string{"collector=first exit1"}, want: want{outcomes: complete}},
	{name: "collector-half-exit-1", change: []string{"collector=half-exit1"}, want: want{outcomes: dmesgOnly}},
	{name: "b1-collector-killed", ci: true, change: []string{"collector=half-killed"}, want: want{outcomes: dmesgOnly, says: "killed"}},
	{name: "collector-half-exit-0", change: []string{"collector=half-exit0"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-garbage-exit-0", ci: true, change: []string{"collector=garbage"}, want: want{outcomes: dmesgOnly, says: "header of the vmcore"}},
	{name: "collector-empty-exit-0", change: []string{"collector=empty"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-no-output-exit-0", change: []string{"collector=no-output"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-truncated-exit-0", change: []string{"collector=truncated"}, want: want{outcomes: dmesgOnly, says: "page "}},
	{name: "collector-no-pages-exit-0", ci: true, change: []string{"collector=no-pages"}, want: want{outcomes: complete, says: "the dump has no pages", format: dumpfile.ELF, within: 4 * time.Minute}},
	{name: "collector-first-truncated", change: []string{"collector=first truncated"}, want: want{outcomes: complete}},
	{name: "collector-deletes-output", change: []string{"collector=deleted"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-renames-half", change: []string{"collector=first rename"}, want: want{outcomes: complete}},
	{name: "collector-unsupported-kernel", change: []string{"collector=unsupported"}, words: "ukdump.known=another", want: want{outcomes: complete, says: "update makedumpfile"}},
	{name: "collector-hangs", ci: true, change: []string{hurry, "collector=hang"}, want: want{outcomes: dmesgOnly, says: "no progress"}},
	{name: "collector-first-hangs-half", change: []string{hurry, "collector=first hang-half"}, want: want{outcomes: complete}},
	{name: "collector-talks-without-end", change: []string{hurry, "collector=chatter"}, want: want{outcomes: dmesgOnly, says: "out of time"}},
	// The configured level has a quicker one behind it.
	{name: "collector-too-slow", conf: "DUMP_LEVEL=1\n", change: []string{hurry, "collector=first slow"}, want: want{outcomes: complete, says: "too slow to end in time"}},
	{name: "collector-too-slow-and-nothing-quicker", change: []string{hurry, "collector=slow"}, want: want{outcomes: dmesgOnly, says: "too slow to end in time"}},
	{name: "collector-takes-all-memory", change: []string{"collector=first memory"}, want: want{outcomes: complete}},
	{name: "collector-segfault", change: []string{"collector=segv"}, want: want{outcomes: dmesgOnly, says: "segmentation fault"}},
	{name: "collector-kills-worker", ci: true, change: []string{"collector=first kill-parent"}, want: want{outcomes: complete}},
	{name: "collector-kills-worker-each-time", change: []string{"collector=kill-parent"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-kills-everything", change: []string{"collector=kill-all"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-sends-pid-1-every-signal", change: []string{"collector=signal-pid1"}, want: want{outcomes: complete}},
	// A ramfs has no limit: it takes all memory.
	{name: "collector-fills-rootfs", change: []string{"collector=first fill-rootfs"}, want: want{outcomes: dmesgOnly, panics: true}},
	{name: "target-becomes-read-only", change: []string{"collector=first readonly"}, want: want{outcomes: dmesgOnly}},
	{name: "target-becomes-read-only-of-two", fs: "ext4", change: []string{"collector=first readonly"}, want: want{outcomes: complete, dir: "/var/crash", dmesg: "/dump"}},
	{name: "collector-sets-clock-to-1970", change: []string{"collector=first clock"}, want: want{outcomes: complete}},
	{name: "collector-library-missing", change: []string{"rm=lib/libc.so*"}, want: want{outcomes: dmesgOnly}},
	{name: "collector-loader-missing", change: []string{"rm=lib*/ld-linux-*"}, want: want{outcomes: dmesgOnly}},
	// No fault: there is no collector by choice. The reboot shows that FINAL_ACTION follows.
	{name: "log-only", conf: "DUMP=log\nFAILURE_ACTION=halt\n",
		prepare: "mv /usr/bin/makedumpfile /root/",
		load: "kdumpctl load && kdumpctl verify >$out/verify.txt && kdumpctl status >>$out/verify.txt && " +
			"grep -q 'only the kernel log and the report are saved (DUMP=log)' $out/verify.txt",
		repair: "mv /root/makedumpfile /usr/bin/",
		check: "kdumpctl announce >$out/announce.txt 2>&1; grep -q 'the kernel log was saved, and no vmcore, as DUMP=log asks' $out/announce.txt && " +
			"grep -q 'log saved' $out/list.txt",
		want: want{outcomes: []crashdir.Outcome{crashdir.DmesgOnly}, says: "outcome: dmesg-only: reboot"}},
	{name: "collector-missing", change: []string{"rm=bin/makedumpfile"}, want: want{outcomes: dmesgOnly, says: "no such file"}},
	{name: "second-crash", ci: true, change: []string{"collector=crash"}, want: want{outcomes: dmesgOnly, panics: true, within: 3 * time.Minute}},
	{name: "second-crash-after-half", change: []string{"collector=half-crash"}, want: want{outcomes: dmesgOnly, panics: true, within: 3 * time.Minute}},
}
