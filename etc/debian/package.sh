#!/usr/bin/env bash
# package.sh [folder [version]]: makes leveret_VERSION_ARCH.deb and leveret-rabbitmq-names_VERSION_all.deb in the folder (build/packages).
# Called by `./dev package`, by etc/Dockerfile, and by test.sh. What is installed where is meson.build's; here is only what Debian adds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(realpath -m "${1:-build/packages}")
base=$(sed -n "s/^ *version: '\([^']*\)'.*/\1/p" meson.build | head -n 1)
version=${2:-$base-1}
arch=$(dpkg --print-architecture)
# Dates in the packages are those of the last commit, so that the same tree makes the same packages.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y meson.build)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8
work=build/package
maintainer='Leveret maintainers <leveret@localhost.invalid>'

mkdir -p build "$out"
[[ -f $work/build.ninja ]] ||
    meson setup "$work" --buildtype=release --prefix=/usr --sysconfdir=/etc --localstatedir=/var >"$work.setup.log" 2>&1 ||
    { cat "$work.setup.log"; rm -rf "$work"; exit 1; }
ninja -C "$work" --quiet src/leveretd src/cli/leveretctl src/cli/leveret-perf
rm -rf "$work/root" "$work/names"
DESTDIR=$(realpath "$work")/root meson install -C "$work" --no-rebuild --quiet
root=$work/root

finish() { # root, package: what both packages have
    local doc=$1/usr/share/doc/$2
    install -D -m 644 etc/debian/copyright "$doc/copyright"
    # Built outside the archive: there is no bug that asks for the package.
    install -d "$1/usr/share/lintian/overrides"
    echo "$2: initial-upload-closes-no-bugs" >"$1/usr/share/lintian/overrides/$2"
    { printf '%s (%s) unstable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n' leveret "$version" "$version" "$maintainer" \
        "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"; } | gzip -9n >"$doc/changelog.Debian.gz"
    find "$1" -exec touch --no-dereference -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$1" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 -r md5sum) >"$1/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zxz --build "$1" "$out" >/dev/null
}

control() { # template, root: the control file, with @fields@ filled in
    sed -e "s/@version@/$version/; s/@arch@/$arch/; s/@maintainer@/$maintainer/; s/@size@/$(du -ks --exclude=DEBIAN "$2" | cut -f 1)/" \
        -e "s/@depends@/${depends-}/" "$1" >"$2/DEBIAN/control"
}

# --- leveret ---------------------------------------------------------------------------------------------------------------

strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root"/usr/bin/*
find "$root/usr/share/man" -name '*.[1-8]' -exec gzip -9n {} +
mkdir -p "$root/usr/share/zsh/vendor-completions" "$root/lib/systemd" "$root/DEBIAN"
mv "$root/usr/share/zsh/site-functions/_leveretctl" "$root/usr/share/zsh/vendor-completions/"
rmdir "$root/usr/share/zsh/site-functions"
mv "$root/usr/lib/systemd/system" "$root/lib/systemd/"
rmdir "$root/usr/lib/systemd"
# The libraries it needs, by their packages.
mkdir -p "$work/shlibs/debian"
printf 'Source: leveret\n\nPackage: leveret\nArchitecture: any\n' >"$work/shlibs/debian/control"
depends=$(cd "$work/shlibs" && dpkg-shlibdeps -O ../root/usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
control etc/debian/control.leveret "$root"
echo /etc/leveret/leveret.conf >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "etc/debian/$script" "$root/DEBIAN/$script"
done
finish "$root" leveret

# --- leveret-rabbitmq-names ------------------------------------------------------------------------------------------------

names=$work/names
mkdir -p "$names/usr/sbin" "$names/DEBIAN" "$names/usr/share/man/man8" "$names/usr/share/bash-completion/completions"
for name in rabbitmqctl rabbitmq-diagnostics rabbitmq-queues rabbitmq-plugins rabbitmqadmin; do
    ln -s ../bin/leveretctl "$names/usr/sbin/$name"
    ln -s ../man1/leveretctl.1.gz "$names/usr/share/man/man8/$name.8.gz"
    [[ $name == rabbitmqadmin ]] || ln -s leveretctl "$names/usr/share/bash-completion/completions/$name"
done
control etc/debian/control.names "$names"
finish "$names" leveret-rabbitmq-names
echo "$out/leveret_${version}_$arch.deb"
echo "$out/leveret-rabbitmq-names_${version}_all.deb"
