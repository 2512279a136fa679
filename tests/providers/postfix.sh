#!/usr/bin/env bash
# Runs a private Postfix in the foreground: postfix.sh FOLDER PORT OWNER. Ends with SIGTERM. Needs root.
#
# It accepts mail to ada@example.org from this machine, and delivers it as the user OWNER (not root) to the Maildir FOLDER/mail. It rejects
# other recipients, and sends nothing to other machines. Configuration, queue, data and log are in FOLDER.
set -euo pipefail

folder=$1 port=$2 owner=$3
programs=/usr/lib/postfix/sbin
mkdir -p "$folder"/{config,data,mail,queue}
# The processes of Postfix have users of their own.
chmod 711 "$folder"
chown postfix "$folder/data"
chown "$owner" "$folder/mail"

cat >"$folder/config/main.cf" <<END
compatibility_level = 3.6
queue_directory = $folder/queue
data_directory = $folder/data
maillog_file = $folder/log
maillog_file_prefixes = $folder
myhostname = mail.example.org
mydestination = example.org
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
default_transport = error:this server sends nothing to other machines
# The local user and the mailbox.
alias_maps = inline:{ {ada = $folder/mail/} }
local_recipient_maps = \$alias_maps
default_privs = $owner
biff = no
END

# service, type, private, unprivileged, chroot, wakeup, maxproc, command
cat >"$folder/config/master.cf" <<END
127.0.0.1:$port inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
END

# Creates the folders of the queue.
postfix -c "$folder/config" check
exec "$programs/master" -s -c "$folder/config"
