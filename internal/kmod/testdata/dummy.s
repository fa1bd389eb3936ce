# A stand-in for a kernel module. Build it with:
#	as --64 -o dummy.ko dummy.s && strip --strip-unneeded dummy.ko && printf '~Module signature appended~\n' >>dummy.ko
	.section .modinfo, "a"
	.asciz "name=dummy"
	.asciz "depends=crc16,mb-cache"
	.asciz "firmware=dummy/one.bin"
	.asciz "firmware=dummy/two.bin"
	.asciz "vermagic=6.1.0-50-amd64 SMP preempt mod_unload modversions "
