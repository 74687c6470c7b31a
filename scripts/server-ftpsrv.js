// Runs ftp-srv for scripts/servers: its options are in the environment.
'use strict';
const fs = require('fs');
const path = require('path');

const {ROOT, ADDRESS, PORT, ACCOUNT, PASSWORD, PASV_LO, PASV_HI, MAX_CLIENTS, IDLE, CERT, LOG, MODULES} = process.env;
const use = (name) => require(path.join(MODULES, name));
const {FtpSrv} = use('ftp-srv');
// FEAT and HELP look for it at their first call, when the account may not reach the folder of modules.
const feat = path.join(MODULES, 'ftp-srv/src/commands/registration/feat.js');
require('module').createRequire(feat)('../registry');
const bunyan = use('bunyan');

process.title = 'ftp-srv'; // by this a test finds it
// Opened now: the account may not.
const file = LOG && fs.createWriteStream(LOG, {fd: fs.openSync(LOG, 'a')});
const log = bunyan.createLogger({name: 'ftp-srv', streams: file ? [{stream: file, level: 'trace'}] : []});
const pem = CERT && fs.readFileSync(CERT); // the account may not read the key
const server = new FtpSrv({
  url: `ftp://${ADDRESS}:${PORT}`,
  pasv_url: ADDRESS,
  pasv_min: Number(PASV_LO) || undefined,
  pasv_max: Number(PASV_HI) || undefined,
  file_format: 'ep',
  timeout: Number(IDLE || 0) * 1000,
  tls: pem ? {cert: pem, key: pem} : false,
  log,
});
// It tries the ports from the lowest on and listens a moment later: two servers would take the same ones. The kernel does not.
if (!PASV_LO) server.getNextPasvPort = async () => 0;
process.initgroups(ACCOUNT, ACCOUNT);
process.setgid(ACCOUNT);
process.setuid(ACCOUNT);
process.umask(0o022);

server.on('login', ({username, password}, resolve, reject) => {
  const sessions = Object.values(server.connections).filter((each) => each.authenticated).length;
  if (MAX_CLIENTS && sessions >= Number(MAX_CLIENTS)) return reject(new Error('Too many sessions'));
  if (username !== ACCOUNT || password !== PASSWORD) return reject(new Error('Login incorrect'));
  return resolve({root: ROOT});
});
// A connection that is reset at the wrong moment would end ftp-srv 4.6 and all its sessions: whoever runs it for others
// has something that keeps it alive.
process.on('uncaughtException', (error) => log.error(error));
process.on('SIGUSR1', () => {
  // Its sessions are no processes that a test could kill.
  for (const {connector, commandSocket} of Object.values(server.connections)) {
    if (connector.dataSocket) connector.dataSocket.destroy();
    commandSocket.destroy();
  }
});
server.listen().catch((error) => {
  console.error(error);
  process.exit(1);
});
