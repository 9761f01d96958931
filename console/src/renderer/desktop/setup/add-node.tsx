// SPDX-License-Identifier: Apache-2.0
/** Another node of the mesh that is shown: a machine is looked at, then made a node, then that stays or is taken back. */
import { type FormEvent, type ReactNode, useEffect, useState } from 'react';
import type { MachineView, ProgressView } from '../../../ipc/assistant-contract.js';
import { Badge } from '../../components/badge.js';
import { Facts, Panel, Problem } from '../../components/panel.js';
import { said } from '../../text/said.js';
import { useAsking } from '../asking.js';
import type { Desktop } from '../desktop.js';
import { NodeSteps } from './node-steps.js';

const MESH_PORT = 7_400;
const AGAIN_MS = 2_000;

export function AddNode({ desktop: { bridge, shown } }: { readonly desktop: Desktop }): ReactNode {
  const progress = useProgress(bridge);
  const { isBusy, problem, ask } = useAsking();
  const [machine, setMachine] = useState<MachineView | undefined>(undefined);
  const [host, setHost] = useState('');
  const [user, setUser] = useState('');
  const [port, setPort] = useState('');
  const [identityFile, setIdentityFile] = useState('');
  const [meshPort, setMeshPort] = useState(String(MESH_PORT));
  const [nodeName, setNodeName] = useState('');
  const [meshAddress, setMeshAddress] = useState('');
  const isOpen = progress !== undefined && !['none', 'undone', 'kept'].includes(progress.phase);

  const look = (event: FormEvent): void => {
    event.preventDefault();
    setMachine(undefined);
    ask(async () => {
      const looked = await bridge.lookAtMachine({
        mesh: shown,
        host,
        meshPort: Number(meshPort),
        ...(user === '' ? {} : { user }),
        ...(port === '' ? {} : { port: Number(port) }),
        ...(identityFile === '' ? {} : { identityFile }),
      });
      setMachine(looked);
      setNodeName(looked.nodeName);
      setMeshAddress(looked.meshAddress);
    });
  };
  const add = (event: FormEvent): void => {
    event.preventDefault();
    ask(async () => {
      await bridge.addNode({ nodeName, meshAddress });
      setMachine(undefined);
    });
  };
  const isStopped = machine?.findings.some(({ severity }) => severity === 'stop') ?? true;
  return (
    <Panel title={`Another node, by SSH, for ${shown === 'local' ? "the mesh of this machine's agent" : said(shown)}`}>
      {isOpen ? (
        <NodeSteps bridge={bridge} progress={progress} />
      ) : (
        <>
          {progress !== undefined && progress.steps.length > 0 && (
            <p role="status">
              {progress.phase === 'kept'
                ? `${said(progress.nodeName)} stays.`
                : `${said(progress.nodeName)} was taken back: nothing of it is left on ${said(progress.host)}.`}
            </p>
          )}
          <form className="setup-form" onSubmit={look}>
            <label className="field">
              Host
              <input value={host} required maxLength={253} onChange={(event) => setHost(event.target.value.trim())} />
            </label>
            <label className="field">
              User (root, or who may use sudo)
              <input value={user} maxLength={64} onChange={(event) => setUser(event.target.value.trim())} />
            </label>
            <label className="field">
              SSH port
              <input
                type="number"
                min={1}
                max={65_535}
                value={port}
                onChange={(event) => setPort(event.target.value)}
              />
            </label>
            <label className="field">
              Key file (else those that ssh shows, or a password)
              <input value={identityFile} maxLength={1_024} onChange={(event) => setIdentityFile(event.target.value)} />
            </label>
            <label className="field">
              Port of the mesh there
              <input
                type="number"
                required
                min={1}
                max={65_534}
                value={meshPort}
                onChange={(event) => setMeshPort(event.target.value)}
              />
            </label>
            <button type="submit" className="primary" disabled={isBusy}>
              Look at it
            </button>
          </form>
          <p className="note">Looking changes nothing there. Its host key is asked about before anybody logs in.</p>
        </>
      )}
      {machine !== undefined && !isOpen && (
        <form onSubmit={add}>
          <Facts facts={machine.facts.map(([term, value]) => [term, said(value)] as const)} />
          <ul className="concerns">
            {machine.findings.map(({ severity, text }) => (
              <li key={text}>
                <Badge tone={severity === 'stop' ? 'bad' : 'warn'}>{severity === 'stop' ? 'stops it' : 'note'}</Badge>{' '}
                {said(text)}
              </li>
            ))}
          </ul>
          {!isStopped && (
            <>
              <p>
                {said(machine.archive)} is sent there and unpacked at <code>/opt/marcher</code>; the unit{' '}
                <code>marcherd</code> runs it as the user <code>marcher</code>, and it joins by a token for one machine.
                Every step is taken back by Undo.
              </p>
              <div className="setup-form">
                <label className="field">
                  Name of the node
                  <input
                    value={nodeName}
                    required
                    maxLength={253}
                    onChange={(event) => setNodeName(event.target.value)}
                  />
                </label>
                <label className="field">
                  Address where the others reach it
                  <input
                    value={meshAddress}
                    required
                    maxLength={60}
                    onChange={(event) => setMeshAddress(event.target.value.trim())}
                  />
                </label>
                <button type="submit" className="primary" disabled={isBusy}>
                  Add it
                </button>
              </div>
            </>
          )}
        </form>
      )}
      {isBusy && <p aria-busy="true">Asking…</p>}
      {problem !== '' && <Problem>{said(problem)}</Problem>}
    </Panel>
  );
}

function useProgress(bridge: Desktop['bridge']): ProgressView | undefined {
  const [progress, setProgress] = useState<ProgressView | undefined>(undefined);
  useEffect(() => {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const next = (after: number): void => {
      bridge.nodeProgress(after).then(
        (came) => {
          if (isOver) return;
          setProgress(came);
          next(came.revision);
        },
        () => {
          timer = setTimeout(() => next(after), AGAIN_MS);
        },
      );
    };
    next(-1);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [bridge]);
  return progress;
}
