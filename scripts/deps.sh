#!/bin/bash
# Installs the packages that the demo and the VM tests need beyond Go and make.
#
# On Debian and its relatives it installs the missing packages with apt-get,
# through sudo if necessary. On other distributions it prints the list and exits
# with status 1.
set -eu

packages=(
	bash-completion         # with fish and zsh: the completions are tried
	btrfs-progs             # file systems of machines that are only files
	cpio                    # initramfs of the test machines
	debian-archive-keyring  # signatures of the suites
	e2fsprogs               # mke2fs -d
	fakechroot              # mmdebstrap, where user namespaces are forbidden
	fakeroot                # file owners in the root disks
	fdisk                   # sfdisk
	fish
	kmod                    # depmod, modprobe -D
	makedumpfile            # the demo opens its dump on the host
	mmdebstrap              # root disks
	nginx-light             # with openssh-server: servers that take dumps
	nbdkit                  # failing disks, for test-faults
	openssh-server
	pacman-package-manager  # with rpm: packages are tried
	qemu-efi-aarch64        # with qemu-system-arm: arm64 machines, for test-matrix
	qemu-system-arm
	qemu-system-x86
	qemu-utils              # qemu-img
	rpm
	uidmap                  # mmdebstrap as an ordinary user
	xfsprogs                # file systems of machines that are only files
	xz-utils                # compressed modules
	zsh
)

# ID and ID_LIKE of os-release(5).
like=$(. /etc/os-release 2>/dev/null && echo " ${ID-} ${ID_LIKE-} ") || like=
if [[ $like != *" debian "* ]]; then
	echo "deps.sh: not a Debian-like system; install the equivalents of these Debian packages, then try again:" >&2
	printf '  %s\n' "${packages[@]}" >&2
	exit 1
fi

missing=()
for p in "${packages[@]}"; do
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || missing+=("$p")
done
if [[ ${#missing[@]} == 0 ]]; then
	exit 0
fi

sudo=()
if [[ $(id -u) != 0 ]]; then
	if ! command -v sudo >/dev/null; then
		echo "deps.sh: as root, run: apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	sudo=(sudo)
fi
install=(apt-get install -y -q --no-install-recommends "${missing[@]}")
if [[ ${#sudo[@]} == 0 ]]; then
	export DEBIAN_FRONTEND=noninteractive
fi

echo "deps.sh: installing ${missing[*]}" >&2
# If the package lists are missing or outdated, the first attempt fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "${sudo[@]}" "${install[@]}" >"$log" 2>&1; then
	"${sudo[@]}" apt-get update -q >&2
	"${sudo[@]}" "${install[@]}" >&2
fi
