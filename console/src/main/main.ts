// SPDX-License-Identifier: Apache-2.0
/** The desktop console's main process: the one place that knows Electron itself, and puts the parts together. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { configurationDirectory } from '@marcher/client/private-file';
import { SshTunnels } from '@marcher/client/ssh';
import {
  app,
  BrowserWindow,
  dialog,
  ipcMain,
  Menu,
  protocol,
  safeStorage,
  screen,
  session,
  shell,
  utilityProcess,
} from 'electron';
import { startMesh } from './arguments.js';
import { assistantOf } from './assistant/assistant.js';
import { ChosenMesh } from './chosen-mesh.js';
import { startDesktop } from './desktop.js';
import { pageHandlers } from './handlers.js';
import { KeptSecrets } from './kept-secrets.js';
import { Log } from './log.js';
import { menuTemplate } from './menu.js';
import { MeshAgents } from './mesh-agents.js';
import { OpenQuestions } from './open-questions.js';
import { rendererFiles } from './renderer-files.js';
import { sessionHandlers } from './sessions.js';
import { sshQuestions } from './ssh-questions.js';
import { terminalHandlers } from './terminal/terminal-handlers.js';
import { Terminals } from './terminal/terminals.js';
import { Vault } from './vault.js';

const configuration = configurationDirectory(process.env);
/** Of the console alone: Chromium's files are in it, too. */
const home = path.join(configuration, 'console');

try {
  app.setName('Marcher');
  mkdirSync(home, { recursive: true, mode: 0o700 });
  // Before anything asks for it: there is one instance for each.
  app.setPath('userData', home);
  // Not awaited: Electron is ready only after this module has been run to its end.
  start().catch(failed);
} catch (error) {
  failed(error);
}

function failed(error: unknown): void {
  dialog.showErrorBox('Marcher has not started', (error as Error).message);
  app.exit(1);
}

/** What has to come before Electron is ready comes before the first await. */
async function start(): Promise<void> {
  const logger = new Log(path.join(home, 'console.log'), Date.now);
  const book = new AddressBookFile(configuration);
  const vault = new Vault({ path: path.join(home, 'vault.json'), safeStorage });
  const questions = new OpenQuestions();
  const ask = sshQuestions(questions, new KeptSecrets(questions, vault, logger));
  const tunnels = new SshTunnels({ ask });
  const agents = new MeshAgents({ environment: process.env, book, tunnels });
  const chosen = new ChosenMesh(path.join(home, 'mesh.json'));
  // In development the tree, else what is packed: the archive, which has no parent that counts.
  const tree = path.join(import.meta.dirname, '../..');
  const terminals = new Terminals(
    () => utilityProcess.fork(path.join(import.meta.dirname, 'pty.cjs'), [], { serviceName: 'Marcher terminals' }),
    logger,
  );
  const archives = [path.join(home, 'archives'), path.join(process.resourcesPath ?? tree, 'archives')];
  const assistant = assistantOf({
    ...{ book, tunnels, ask, logger, environment: process.env },
    archives: app.isPackaged ? archives : [...archives, path.join(tree, '.cache/archives')],
  });
  app.on('will-quit', () => {
    terminals.closeAll();
    assistant.close();
    agents.close();
    tunnels.close();
  });
  /** A page that begins: with another mesh's agents, and none of the terminals of the one before. */
  const shows = (mesh: string): void => {
    agents.keepOnly(mesh);
    terminals.closeAll();
  };
  Menu.setApplicationMenu(
    Menu.buildFromTemplate(menuTemplate({ isMac: process.platform === 'darwin', isPackaged: app.isPackaged })),
  );
  await startDesktop(
    { app, BrowserWindow, ipcMain, protocol, screen, session, shell },
    {
      files: rendererFiles(path.join(import.meta.dirname, '../web')),
      agents,
      handlers: {
        ...pageHandlers({ book, vault, chosen, questions, shows }),
        ...terminalHandlers({ terminals, environment: process.env, own: [path.join(tree, 'tui/bin/marcher')] }),
        ...assistant.handlers,
        ...sessionHandlers({ book, environment: process.env, renewed: (mesh) => agents.renewedSession(mesh) }),
      },
      logger,
      meshOf: startMesh,
      argv: process.argv,
      preload: path.join(import.meta.dirname, 'preload.cjs'),
      windowFile: path.join(home, 'window.json'),
    },
  );
}
