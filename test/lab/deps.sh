#!/bin/sh
# Installs what the lab needs on a Debian 12 host, and downloads what goes into its
# guests. Prints nothing when everything is there already.
#
# The machine's own apt sources are left alone: backports are reached through a
# private apt configuration below _out/lab/apt, with the mirror taken from the
# machine's own Debian sources.
#
#   deps.sh packages        install host packages
#   deps.sh packages-arm64  install those that tests of arm64 need besides
#   deps.sh kernel DIR [ARCH]
#                           download the kernel of the kernel's tests, pinned, and
#                           unpack it into DIR; ARCH is amd64, or arm64
#   deps.sh kernel-talos DIR [ARCH]
#                           the same for the kernel of the nodes
#   deps.sh userland DIR
#                           download the programs that Talos and the lab's scripts
#                           call, with their libraries, and unpack them into DIR
#   deps.sh installer DIR   the same for what Talos' installer needs
#   deps.sh netdevsim DIR RELEASE
#                           download what builds the module netdevsim for that
#                           kernel, and unpack it into DIR
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${LAB_OUT:-$(cd "$here/../.." && pwd)/_out/lab}
apt_dir=$out/apt
release=bookworm

qemu_pin='1:10.0.2+ds-2+deb13u1~bpo12+1'
kernel_pin='6.12.95+deb12'
kernel_series='6.12'
source_pin='6.12.95-1~bpo12+1'
# Talos mounts in a way that Linux has since 6.15; 6.18 is the series of its own kernel.
kernel_talos_pin='6.18.15+deb13'
kernel_talos_series='6.18'
userland='cryptsetup-bin dash dmsetup dosfstools e2fsprogs iproute2 iptables kmod lvm2 mdadm
nftables udev util-linux xfsprogs'
installer='grub-pc-bin grub2-common systemd-boot-efi'

# One package a word. gcc, libc6-dev, libseccomp-dev and pkg-config are for
# runc; busybox-static is copied into the guest; kmod has depmod; cpio is for Talos' imager.
packages='busybox-static ca-certificates cpio fdisk gcc kmod libc6-dev libseccomp-dev make pkg-config squashfs-tools xz-utils zstd'
qemu='qemu-system-x86'
# For a guest of arm64 and its firmware, and for programs of arm64.
packages_arm64='qemu-efi-aarch64'
qemu_arm64='qemu-system-arm qemu-user-static'

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null 2>&1; then sudo "$@"
	else die "this step needs root: $* (run as root, or install sudo)"
	fi
}

# mirror prints the URI from which this machine takes the Debian release.
mirror() {
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -r "$f" ] || continue
		awk -v rel="$release" '
			function done_stanza() { if (uri != "" && hit) { print uri; found = 1; exit } uri = ""; hit = 0 }
			/^[[:space:]]*$/ { done_stanza(); next }
			/^URIs:/ { uri = $2 }
			/^Suites:/ { for (i = 2; i <= NF; i++) if ($i == rel) hit = 1 }
			END { if (!found) done_stanza() }' "$f"
	done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -r "$f" ] || continue
		awk -v rel="$release" '
			$1 == "deb" {
				i = 2
				if ($i ~ /^\[/) { while ($i !~ /\]$/) i++; i++ }
				if ($(i + 1) == rel) { print $i; exit }
			}' "$f"
	done
}

# private_apt makes the private configuration, for packages of one architecture; its
# lists are renewed at most once a day, since a package that is pinned and there needs
# no fresh index.
private_apt() {
	[ "$arch" = amd64 ] || apt_dir=$out/apt-$arch
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	uri=$(mirror | head -n 1)
	[ -n "$uri" ] || die "no Debian $release source found below /etc/apt: add one, then run again"
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	{
		printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$release"
		printf 'deb [signed-by=%s] %s %s-updates main\n' "$keyring" "$uri" "$release"
		printf 'deb [signed-by=%s] %s %s-backports main\n' "$keyring" "$uri" "$release"
		printf 'deb [signed-by=%s] %s trixie-backports main\n' "$keyring" "$uri"
	} >"$apt_dir/sources.list.new"
	cat >"$apt_dir/apt.conf" <<-EOF
	Dir::Etc::sourcelist "$apt_dir/sources.list";
	Dir::Etc::sourceparts "-";
	Dir::State::lists "$apt_dir/lists";
	Dir::Cache "$apt_dir/cache";
	APT::Sandbox::User "root";
	APT::Get::List-Cleanup "0";
	Acquire::Retries "3";
	APT::Architecture "$arch";
	APT::Architectures { "$arch"; };
	EOF
	export APT_CONFIG="$apt_dir/apt.conf"
	if cmp -s "$apt_dir/sources.list.new" "$apt_dir/sources.list" &&
		[ -n "$(find "$apt_dir/updated" -mtime -1 2>/dev/null)" ]; then
		rm -f "$apt_dir/sources.list.new"
		return
	fi
	mv "$apt_dir/sources.list.new" "$apt_dir/sources.list"
	apt-get -qq update || die "apt-get update failed for the mirror in $apt_dir/sources.list"
	touch "$apt_dir/updated"
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || :)" = installed ]
}

# qemu_ok: the igb model came with QEMU 8.0; release has 7.2.
qemu_ok() {
	installed "$1" && dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$1")" ge 1:8.0
}

# install_packages PACKAGES QEMUS: packages of the release, and of QEMU's from backports.
install_packages() {
	missing='' qemus=''
	for p in $1; do installed "$p" || missing="$missing $p"; done
	for p in $2; do qemu_ok "$p" || qemus="$qemus $p"; done
	[ -n "$missing$qemus" ] || return 0
	start=$(date +%s)
	private_apt
	# shellcheck disable=SC2086
	[ -z "$missing" ] || apt_install $missing
	for p in $qemus; do
		if apt-cache madison "$p" | grep -qF "$qemu_pin"; then
			apt_install -t "$release-backports" "$p=$qemu_pin"
		else
			say "$p $qemu_pin is gone from the mirror: taking the newest of $release-backports"
			apt_install -t "$release-backports" "$p"
		fi
	done
	say "installed host packages:$missing$qemus ... $(($(date +%s) - start))s"
}

apt_install() {
	log=$apt_dir/install.log
	as_root env APT_CONFIG="$APT_CONFIG" DEBIAN_FRONTEND=noninteractive \
		apt-get -y --no-install-recommends install "$@" >"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "apt-get install $* failed, see $log"
	}
}

# fetch_kernel DIR PIN SERIES: the pinned kernel, or else the newest of its series.
fetch_kernel() {
	dir=$1 pin=$2 series=$3
	private_apt
	start=$(date +%s)
	pkg=linux-image-$pin-$arch
	if ! apt-cache show "$pkg" >/dev/null 2>&1; then
		pkg=$(apt-cache pkgnames "linux-image-$series." |
			grep -E "^linux-image-$series\.[0-9]+\+${pin#*+}-$arch$" | sort -V | tail -n 1)
		[ -n "$pkg" ] || die "no linux-image of series $series on the mirror"
		say "kernel $pin is gone from the mirror: taking $pkg"
	fi
	deb=$dir.deb
	rm -rf "$deb" "$dir.new" && mkdir -p "$deb" "$dir.new"
	(cd "$deb" && apt-get -qq download "$pkg") || die "download of $pkg failed"
	dpkg-deb -x "$deb"/linux-image-*.deb "$dir.new"
	# Newer packages have the modules in their real place.
	if [ -d "$dir.new/usr/lib/modules" ]; then mkdir -p "$dir.new/lib" && mv "$dir.new/usr/lib/modules" "$dir.new/lib/"; fi
	rm -rf "$deb" "$dir" && mv "$dir.new" "$dir"
	say "fetched ${pkg#linux-image-} kernel ... $(($(date +%s) - start))s"
}

# fetch_packages DIR PACKAGES: with all that they need, as if nothing were installed here.
fetch_packages() {
	dir=$1 wanted=$2
	private_apt
	start=$(date +%s)
	deb=$dir.deb
	rm -rf "$deb" "$dir.new" && mkdir -p "$deb/partial" "$dir.new"
	: >"$deb/status"
	# shellcheck disable=SC2086
	apt-get -qq -y --no-install-recommends --download-only -o Debug::NoLocking=1 \
		-o "Dir::State::Status=$deb/status" -o "Dir::Cache::Archives=$deb" install $wanted >"$apt_dir/packages.log" 2>&1 || {
		tail -n 20 "$apt_dir/packages.log" >&2
		die "download of $wanted failed"
	}
	for p in "$deb"/*.deb; do dpkg-deb -x "$p" "$dir.new"; done
	rm -rf "$deb" "$dir" && mv "$dir.new" "$dir"
	say "fetched from Debian for $(basename "$dir") ... $(($(date +%s) - start))s"
}

# fetch_netdevsim: the source of one driver, and what Debian builds modules with
# outside of the kernel's tree. Headers must be the kernel's own, the source may
# be another of the same series when the pinned one is gone.
fetch_netdevsim() {
	dir=$1 release_name=$2 version=${2%-amd64}
	private_apt
	src=linux-source-$kernel_series
	if apt-cache madison "$src" | grep -qF "$source_pin"; then src=$src=$source_pin; fi
	deb=$apt_dir/deb-netdevsim
	rm -rf "$deb" "$dir" && mkdir -p "$deb" "$dir"
	(cd "$deb" && apt-get -qq download "$src" "linux-headers-$release_name" \
		"linux-headers-$version-common" "linux-kbuild-$version") ||
		die "download of $src and the headers of $release_name failed"
	for p in "$deb"/linux-headers-*.deb "$deb"/linux-kbuild-*.deb; do dpkg-deb -x "$p" "$dir"; done
	dpkg-deb --fsys-tarfile "$deb"/linux-source-*.deb |
		tar -xO "./usr/src/linux-source-$kernel_series.tar.xz" |
		tar -xJ -C "$dir" --wildcards --transform 's,^linux-source-[^/]*/drivers/net/,,' \
			"linux-source-$kernel_series/drivers/net/netdevsim/*"
	[ -f "$dir/netdevsim/Makefile" ] || die "no netdevsim in $src"
	# The headers name each other as if they were installed.
	sed -i "s,include /usr/src/,include $dir/usr/src/," "$dir/usr/src/linux-headers-$release_name/Makefile"
	rm -rf "$deb"
}

arch=amd64 # of what is fetched
case ${1:-packages} in
packages) install_packages "$packages" "$qemu" ;;
packages-arm64) install_packages "$packages_arm64" "$qemu_arm64" ;;
kernel) arch=${3:-amd64} && fetch_kernel "${2:?usage: deps.sh kernel DIR}" "$kernel_pin" "$kernel_series" ;;
kernel-talos) arch=${3:-amd64} && fetch_kernel "${2:?usage: deps.sh kernel-talos DIR}" "$kernel_talos_pin" "$kernel_talos_series" ;;
userland) fetch_packages "${2:?usage: deps.sh userland DIR}" "$userland" ;;
installer) fetch_packages "${2:?usage: deps.sh installer DIR}" "$installer" ;;
netdevsim) fetch_netdevsim "${2:?usage: deps.sh netdevsim DIR RELEASE}" "${3:?usage: deps.sh netdevsim DIR RELEASE}" ;;
*) die "usage: deps.sh packages | packages-arm64 | kernel DIR [ARCH] | kernel-talos DIR [ARCH] | userland DIR | installer DIR | netdevsim DIR RELEASE" ;;
esac
