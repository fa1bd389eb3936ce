package test

import "fmt"

// loadFaults are crashes during a build or a load. The kernel drops the loaded
// image before it has the next one, so no image may be loaded at that moment;
// but the files on the disk must be good afterwards.
var loadFaults = func() (list []fault) {
	const again = "kdumpctl load && { kdumpctl status >/run/status || [ $? = 4 ]; }"
	for _, ms := range []int{300, 900, 1700, 2600} {
		list = append(list,
			fault{name: fmt.Sprintf("crash-during-load-%d-ms", ms), check: again,
				inject: fmt.Sprintf("(while :; do kdumpctl load; done) >/dev/null 2>&1 & sleep %d.%03d", ms/1000, ms%1000),
				want:   want{outcomes: anything}},
			fault{name: fmt.Sprintf("crash-during-build-%d-ms", ms), check: again,
				inject: fmt.Sprintf("(while :; do kdumpctl build --force; done) >/dev/null 2>&1 & sleep %d.%03d", ms/1000, ms%1000),
				want:   want{outcomes: complete}})
	}
	// The set that is loaded stays, and captures.
	return append(list, fault{name: "hugepages-in-boot-options", check: again,
		load: "kdumpctl load && echo BOOT_OPTIONS=hugepages=128 >/etc/ukdump.conf.d/zz.conf && refused kdumpctl load && " +
			"grep -q 'zz.conf:1: BOOT_OPTIONS: hugepages=128 takes memory that the capture needs' $out/refused.txt",
		repair: "rm /etc/ukdump.conf.d/zz.conf",
		want:   want{outcomes: complete}})
}()
