package test

// slotFaults are machines in which makedumpfile was not tried before the crash, and in
// which another program has loaded its own capture kernel.
var slotFaults = []fault{
	// bookworm's makedumpfile reports bookworm's kernel as not supported. That alone
	// must not cost the small dump.
	{name: "forecast-late", ci: true,
		// The earlier crash of this machine has left a verdict.
		load: `rm -f /var/lib/ukdump/makedumpfile.json
(until pid=$(pidof makedumpfile); do :; done; kill -STOP "$pid") &
kdumpctl load >$out/load.txt
cat $out/load.txt
grep 'not known: whether makedumpfile understands' $out/load.txt
! grep ukdump.known /var/lib/ukdump/loaded.json`,
		check: `dump=$(ls -d /var/crash/20* | tail -n 1)
cat "$dump/report.json"
[ "$(grep -c '"phase"' "$dump/report.json")" = 1 ]`,
		want: want{outcomes: complete, says: "not known to be supported"}},
	// Other programs load over ours: another command line, another image. The next load
	// takes the slot back.
	{name: "another-loads-over", ci: true, pc: true, // arm64 hides the reserved memory from /proc/kcore
		load: `seen() { kdumpctl status >$out/status.txt 2>&1 || [ $? = 4 ]; grep '^missing .*another program has loaded' $out/status.txt; }
kdumpctl load || return 1
kdumpctl verify >$out/verify.txt || true
grep 'ok  *loaded .*the reserved memory has /boot/.*, the command line and this image$' $out/verify.txt || return 1
seen && return 1
faultlab edit "$image" "$changed" '` + hurry + `' || return 1
for other in "$image" "$changed"; do
	faultlab load "$other" quiet || return 1
	seen || return 1
	kdumpctl verify >$out/verify.txt && return 1
	grep 'PROBLEM  *loaded .*another program has loaded' $out/verify.txt || return 1
	kdumpctl load || return 1
	seen && return 1
done
return 0`,
		want: want{outcomes: complete}},
	// A filter that is known to misread the kernel gives way to the next collector.
	{name: "forecast-misread",
		load: `words="-ukdump.known= -ukdump.expect= ukdump.misread=$(uname -r)"
load_changed collector=unsupported`,
		check: `dump=$(ls -d /var/crash/20* | tail -n 1)
[ "$(grep -c '"phase"' "$dump/report.json")" = 2 ]`,
		want: want{outcomes: complete, says: "update makedumpfile"}},
}
