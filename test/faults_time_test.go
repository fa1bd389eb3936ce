package test

import (
	"time"

	"ukdump/test/debian"
)

var timeFaults = []fault{
	{name: "clock-at-1970", ci: true, rtc: "1970-01-01T00:00:00", want: want{outcomes: complete}},
	{name: "b6-same-second", // every second of the next minutes has a dump already
		inject: "now=$(date +%s); i=0; while [ $i -lt 300 ]; do mkdir /var/crash/$(date -u -d @$((now + i)) +%Y-%m-%dT%H-%M-%SZ); i=$((i + 1)); done; sync",
		repair: "find /var/crash -mindepth 1 -maxdepth 1 -type d -empty -delete",
		want:   want{outcomes: complete}},
	{name: "all-names-taken", // of the next minutes, by a user, as far as they can be guessed
		inject: "chmod 1777 /var/crash; now=$(date +%s); seq $now $((now + 200)) | sed 's/^/@/' | date -u -f - +%Y-%m-%dT%H-%M-%SZ | " +
			"while read -r t; do echo \"$t\"; seq -f \"$t-%.0f\" 2 22; done >/tmp/names; chmod 644 /tmp/names; cd /var/crash; " +
			"setpriv --reuid 65534 --clear-groups xargs touch </tmp/names; [ $(ls | grep -c Z-22$) = 201 ] && sync",
		repair: "find /var/crash -maxdepth 1 -type f -uid 65534 -delete",
		check:  "ls -d /var/crash/*Z-x*/vmcore",
		want:   want{outcomes: complete, dir: "/var/crash"}},
	{name: "watchdog-slow-dump-survives", flavour: debian.Generic, watchdog: true, fs: "ext4", reservation: 192,
		prepare: "modprobe i6300esb && faultlab watchdog 20",
		events:  []event{{line: atDumping, do: throttle}},
		want:    want{outcomes: complete, dir: "/dump", within: 4 * time.Minute}},
	{name: "watchdog-resets-hung-machine", flavour: debian.Generic, watchdog: true, reservation: 192,
		conf: "MODULES=dm_flakey\n", change: []string{"spin=dm_flakey"}, words: "nowatchdog",
		prepare: "modprobe i6300esb && faultlab watchdog 20",
		want:    want{outcomes: nothing, within: 3 * time.Minute}},
}
