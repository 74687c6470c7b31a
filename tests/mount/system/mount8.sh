#!/bin/sh
# mount(8), umount(8), findmnt(8) and df(1) with ftpfs as their helper, in a mount namespace of their own: nothing that is
# mounted here is seen outside, or stays.
#
# $FTPFS the program, $URL a server of the folder $ROOT with a file `file`, $CREDENTIALS its login, $TEMP a folder; $1 the step.
set -eu

main() {
    mnt="$TEMP/m nt"
    mkdir "$mnt"
    # Helpers are looked for in /sbin alone; what else mount needs is in /bin.
    mount -t tmpfs none "$(readlink -f /sbin)"
    # What mount(8) notes of its mounts is not for others either.
    mkdir -p /run/mount
    mount -t tmpfs none /run/mount
    ln -s "$FTPFS" /sbin/mount.ftpfs
    ln -s "$FTPFS" /sbin/mount.fuse.ftpfs
    ln -s "$FTPFS" /sbin/umount.fuse.ftpfs
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
    all=$all,x-systemd.device-timeout=5,x-systemd.mount-timeout=10,x-initrd.mount,uhelper=none,symfollow
    # Labels are left out where SELinux does not run, as those of any filesystem.
    all=$all,context=system_u:object_r:tmp_t:s0
    quiet mount -t ftpfs "$URL" "$mnt" -o "$all,credentials=$CREDENTIALS"
    umount "$mnt"
    quiet mount -t ftpfs "$URL" "$mnt" -o "noexec,nosuid,nodev,noatime,sync,dirsync,nosymfollow,ro,credentials=$CREDENTIALS"
    options=$(findmnt -rn -o OPTIONS "$mnt")
    for word in ro noexec nosuid nodev noatime sync dirsync nosymfollow; do
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

# What was written takes two seconds to be sent. umount asks a helper where it has noted something of the mount, as a
# word for itself.
unmounts() {
    options=_netdev,writeback,credentials=$CREDENTIALS,staging=$TEMP/staging
    quiet mount -t ftpfs "$URL" "$mnt" -o "$options,bwlimit=100K"
    head -c 200000 /dev/zero >"$mnt/new"
    quiet umount "$mnt"
    same "$(stat -c %s "$ROOT/new")" 200000
    absent
    quiet mount -t ftpfs "$URL" "$mnt" -o "$options"
    same "$(umount -v "$mnt" | grep ftpfs)" "$mnt unmounted."
    quiet mount -t ftpfs "$URL" "$mnt" -o "$options"
    exec 3<"$mnt/file"
    ends_with 32 umount "$mnt"
    quiet umount -l "$mnt"
    exec 3<&-
    absent
    # The server cannot take what is written: that is said, and kept.
    quiet mount -t ftpfs "$URL" "$mnt" -o "$options"
    ls "$mnt" >/dev/null
    mkdir "$ROOT/more"
    echo more >"$mnt/more"
    said=$(umount "$mnt" 2>&1) || fail "umount: $said"
    case $said in *more*) ;; *) fail "it says: $said" ;; esac
    absent
    rmdir "$ROOT/more"
    quiet mount -t ftpfs "$URL" "$mnt" -o "$options"
    quiet umount "$mnt"
    same "$(cat "$ROOT/more")" more
}

exits() {
    ends_with 1 mount -t ftpfs "$URL" "$mnt" -o no_such_word
    ends_with 1 mount -t ftpfs nonsense "$mnt"
    ends_with 32 mount -t ftpfs "$URL" "$mnt" -o credentials=/no/such
    ends_with 32 mount -t ftpfs "$URL/no/such" "$mnt" -o "credentials=$CREDENTIALS"
    ends_with 32 mount -t ftpfs ftp://127.0.0.1:1/ "$mnt"
    ends_with 1 mount -t ftpfs "$URL" "$mnt" -o remount,ro
    absent
    # Some of fstab, and not all.
    mkdir "$TEMP/other"
    cat >"$TEMP/fstab" <<TEXT
$URL $TEMP/m\\040nt ftpfs credentials=$CREDENTIALS 0 0
ftp://127.0.0.1:1/ $TEMP/other ftpfs defaults 0 0
TEXT
    ends_with 64 mount -T "$TEMP/fstab" -a
    same "$(cat "$mnt/file")" content
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

# Somebody who is not root, by fusermount3; what is root's alone on this machine is not here.
users() {
    chmod 755 "$TEMP"
    own=$TEMP/own
    mkdir "$own"
    mount -t tmpfs -o mode=755 none "$own"
    mknod -m 666 "$own/fuse" c 10 229
    mount --bind "$own/fuse" /dev/fuse
    echo '# nothing' >"$own/fuse.conf"
    mount --bind "$own/fuse.conf" /etc/fuse.conf
    touch "$own/ftpfs"
    mount --bind "$FTPFS" "$own/ftpfs"
    ln -sf "$own/ftpfs" /sbin/mount.ftpfs
    install -m 600 -o 65534 "$CREDENTIALS" "$own/credentials"
    install -d -o 65534 "$own/mnt" "$own/home"
    mnt=$own/mnt
    login=credentials=$own/credentials,staging=$own/home

    quiet by_user "$own/ftpfs" "$URL" "$mnt" -o "$login"
    same "$(by_user cat "$mnt/file")" content
    by_user sh -c 'echo new >"$1"' sh "$mnt/new"
    ! ls "$mnt" 2>/dev/null || fail "root is let in"
    quiet by_user fusermount3 -u "$mnt"
    absent

    ends_with 1 by_user "$own/ftpfs" "$URL" "$mnt" -o "$login,allow_other"
    case $said in *"user_allow_other to /etc/fuse.conf"*) ;; *) fail "$said" ;; esac
    ends_with 2 by_user "$own/ftpfs" "$URL" "$mnt" -o "$login,no_such_word"
    absent
    echo user_allow_other >"$own/fuse.conf"
    quiet by_user "$own/ftpfs" "$URL" "$mnt" -o "$login,allow_other"
    same "$(cat "$mnt/file")" content
    quiet by_user fusermount3 -u "$mnt"

    echo "$URL $mnt ftpfs user,noauto,$login 0 0" >"$own/fstab"
    mount --bind "$own/fstab" /etc/fstab
    quiet by_user mount "$mnt"
    options=$(findmnt -rn -o OPTIONS "$mnt")
    for word in noexec nosuid nodev user_id=65534; do
        case ",$options," in *",$word,"*) ;; *) fail "no $word in $options" ;; esac
    done
    same "$(by_user cat "$mnt/file")" content
    quiet by_user umount "$mnt"
    absent
    chown 0 "$mnt"
    ends_with 32 by_user mount "$mnt"
    case $said in *"not yours to write to"*) ;; *) fail "$said" ;; esac
}

by_user() {
    setpriv --reuid=65534 --regid=65534 --clear-groups env "HOME=$own/home" "$@"
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
