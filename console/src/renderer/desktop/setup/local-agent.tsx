// SPDX-License-Identifier: Apache-2.0
import { type ReactNode, useEffect, useState } from 'react';
import type { LocalAgentView } from '../../../ipc/assistant-contract.js';
import { Panel, Problem } from '../../components/panel.js';
import { said } from '../../text/said.js';
import { useAsking } from '../asking.js';
import type { Desktop } from '../desktop.js';

/** Found, or started: by the command that is shown, once somebody has seen it and wants it. */
export function LocalAgent({ desktop: { bridge, shown, switchTo } }: { readonly desktop: Desktop }): ReactNode {
  const [agent, setAgent] = useState<LocalAgentView | undefined>(undefined);
  const { isBusy, problem, ask } = useAsking();
  useEffect(() => ask(async () => setAgent(await bridge.localAgent())), [bridge, ask]);
  return (
    <Panel
      title="This machine"
      side={
        <button type="button" disabled={isBusy} onClick={() => ask(async () => setAgent(await bridge.localAgent()))}>
          Look again
        </button>
      }
    >
      {agent === undefined ? <p aria-busy={isBusy}>Looking for an agent…</p> : <p>{said(agent.text)}</p>}
      {agent?.state === 'denied' && agent.command !== undefined && (
        <p>
          Then log in anew: <code>{agent.command}</code>
        </p>
      )}
      {agent?.state === 'stopped' && agent.command !== undefined && (
        <p>
          It is started by <code>{agent.command}</code>{' '}
          <button
            type="button"
            className="primary"
            disabled={isBusy}
            onClick={() => ask(async () => setAgent(await bridge.startLocalAgent()))}
          >
            Run that
          </button>
        </p>
      )}
      {agent?.state === 'answers' && shown !== 'local' && (
        <button type="button" onClick={() => switchTo('local')}>
          Show it
        </button>
      )}
      {problem !== '' && <Problem>{said(problem)}</Problem>}
    </Panel>
  );
}
