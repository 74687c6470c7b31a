#!/bin/sh
# mount(8), umount(8), findmnt(8) and df(1) with ftpfs as their helper, in a mount namespace of their own: nothing that is
# mounted here is seen outside, or stays.
#
# $FTPFS the program, $URL a server with a file `file`, $CREDENTIALS its login, $TEMP a folder; $1 the step.
set -eu

main() {
    mnt="$TEMP/m nt"
    mkdir "$mnt"
    # Helpers are looked for in /sbin alone; what else mount needs is in /bin.
    mount -t tmpfs none "$(readlink -f /sbin)"
    ln -s "$FTPFS" /sbin/mount.ftpfs
    ln -s "$FTPFS" /sbin/mount.fuse.ftpfs
    "$1"
    umount "$mnt" 2>/dev/null || true
}

types() {
    for type in ftpfs fuse.ftpfs; do
        quiet mount -t "$type" "$URL" "$mnt" -o "credentials=$CREDENTIALS"
        same "$(findmnt -rn -o SOURCE,FSTYPE "$mnt")" "$URL fuse.ftpfs"
        same "$(df --output=source "$mnt" | tail -n 1)" "$URL"
        same "$(cat "$mnt/file")" content
        echo new >"$mnt/new"
        quiet umount "$mnt"
        absent
    done
}

# Every word that mount(8), fstab(5), systemd.mount(5) or a file manager knows.
words() {
    all=defaults,auto,noauto,user,nofail,_netdev,rw,exec,suid,dev,async,atime,diratime,relatime,iversion
    all=$all,lazytime,silent,group,owner,users,nouser,comment=x,X-mount.mkdir,x-gvfs-show,x-gvfs-name=My%20Files
    all=$all,x-systemd.automount,x-systemd.idle-timeout=1min,x-systemd.requires=network-online.target
    all=$all,x-systemd.device-timeout=5,x-systemd.mount-timeout=10,x-initrd.mount,uhelper=none
    quiet mount -t ftpfs "$URL" "$mnt" -o "$all,credentials=$CREDENTIALS"
    umount "$mnt"
    quiet mount -t ftpfs "$URL" "$mnt" -o "noexec,nosuid,nodev,noatime,sync,dirsync,ro,credentials=$CREDENTIALS"
    options=$(findmnt -rn -o OPTIONS "$mnt")
    for word in ro noexec nosuid nodev noatime sync dirsync; do
        case ",$options," in *",$word,"*) ;; *) fail "no $word in $options" ;; esac
    done
    umount "$mnt"
}

flags() {
    quiet mount -f -t ftpfs "$URL" "$mnt" -o "credentials=$CREDENTIALS"
    absent
    quiet mount -s -n -t ftpfs "$URL" "$mnt" -o "credentials=$CREDENTIALS,no_such_word=1"
    umount "$mnt"
    said=$(mount -v -t ftpfs "$URL" "$mnt" -o "credentials=$CREDENTIALS")
    same "$said" "$URL mounted on $mnt."
    umount "$mnt"
}

exits() {
    ends_with 1 mount -t ftpfs "$URL" "$mnt" -o no_such_word
    ends_with 1 mount -t ftpfs nonsense "$mnt"
    ends_with 32 mount -t ftpfs "$URL" "$mnt" -o credentials=/no/such
    ends_with 32 mount -t ftpfs "$URL/no/such" "$mnt" -o "credentials=$CREDENTIALS"
    ends_with 32 mount -t ftpfs ftp://127.0.0.1:1/ "$mnt"
    absent
}

fstab() {
    mkdir "$TEMP/other"
    cat >"$TEMP/fstab" <<TEXT
$URL $TEMP/m\\040nt ftpfs _netdev,nofail,x-systemd.automount,credentials=$CREDENTIALS 0 0
$URL $TEMP/other fuse.ftpfs noauto,credentials=$CREDENTIALS 0 0
TEXT
    # Neither PATH nor HOME, as at boot.
    for turn in first second; do
        said=$(env -i "$(command -v mount)" -T "$TEMP/fstab" -a 2>&1) || fail "the $turn time: $said"
        same "$said" ''
    done
    same "$(findmnt -rn -t fuse.ftpfs -o TARGET | grep -c "^$TEMP/")" 1
    quiet mount -T "$TEMP/fstab" "$TEMP/other"
    same "$(cat "$TEMP/other/file" "$mnt/file")" "content
content"
    quiet umount "$TEMP/other" "$mnt"
    absent
}

# Runs a command that must succeed, and say nothing.
quiet() {
    said=$("$@" 2>&1) || fail "$*: ended with $?: $said"
    same "$said" ''
}

ends_with() {
    wanted=$1
    shift
    code=0
    said=$("$@" 2>&1) || code=$?
    [ "$code" -eq "$wanted" ] || fail "$*: ended with $code: $said"
    [ "$(printf '%s\n' "$said" | wc -l)" -eq 1 ] || fail "$*: more than a line: $said"
}

same() {
    [ "$1" = "$2" ] || fail "'$1' is not '$2'"
}

absent() {
    ! findmnt "$mnt" >/dev/null || fail "it is mounted"
}

fail() {
    echo "$*" >&2
    exit 1
}

main "$@"
