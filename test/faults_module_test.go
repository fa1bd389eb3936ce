package test

import "time"

// extraModule is a module that nothing needs; it needs another one.
const extraModule = "MODULES=dm_flakey\n"

// A module whose init never returns keeps the only processor.
const softlockup = "softlockup_panic=1 watchdog_thresh=5"

var moduleFaults = []fault{
	{name: "module-missing", conf: extraModule, load: moduleLoad("rm=$extra"), want: want{outcomes: complete, says: "dm_flakey"}},
	{name: "module-garbage", conf: extraModule, load: moduleLoad("text=$extra=garbage"), want: want{outcomes: complete, says: "dm_flakey"}},
	{name: "module-truncated", conf: extraModule, load: moduleLoad("truncate=$extra=5000"), want: want{outcomes: complete, says: "dm_flakey"}},
	{name: "module-bit-flipped", conf: extraModule, load: moduleLoad("flip=$extra="), want: want{outcomes: anything, panics: true}},
	{name: "module-of-another-kernel", conf: extraModule,
		load:    moduleLoad("put=$extra=/ukdump-test/other.ko"),
		prepare: "for ko in $(find /lib/modules/ -name dm-flakey.ko); do case $ko in *$(uname -r)/*) ;; *) cp $ko /ukdump-test/other.ko ;; esac; done",
		want:    want{outcomes: complete, says: "dm_flakey"}},
	{name: "module-unknown-in-plan", change: []string{`plan=modules.+={"name":"nosuch","path":"lib/modules/nosuch.ko"}`}, want: want{outcomes: complete, says: "nosuch"}},
	{name: "module-oopses", ci: true, conf: extraModule, change: []string{hurry, "oops=dm_flakey"}, want: want{outcomes: complete, says: "did not come back"}},
	{name: "module-of-the-disk-oopses", change: []string{hurry, "oops=virtio_blk"}, want: want{outcomes: nothing, says: "did not appear"}},
	{name: "module-spins", conf: extraModule, change: []string{hurry, "spin=dm_flakey"}, words: softlockup,
		want: want{outcomes: nothing, panics: true, within: 3 * time.Minute}},
	{name: "all-modules-missing", change: []string{hurry, "rm=lib/modules/*"}, want: want{outcomes: nothing, says: "did not appear"}},
}

// moduleLoad loads the image with a change of the extra module, whose path in
// the image is $extra.
func moduleLoad(change string) string {
	return "kdumpctl load\n" +
		"extra=$(mkkdumpinitrd ls $image | grep -o 'lib/modules/[0-9]*-dm_flakey.ko')\n" +
		"load_changed \"" + change + "\""
}
