// SPDX-License-Identifier: Apache-2.0
/** Bundled as one CommonJS file: a sandboxed preload script can load nothing but Electron's own modules. */
import { contextBridge, ipcRenderer } from 'electron';
import { exposeBridge } from './bridge.js';

exposeBridge(contextBridge, ipcRenderer);
