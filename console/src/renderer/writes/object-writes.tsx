// SPDX-License-Identifier: Apache-2.0
/** What a page of services, guards or policies offers for one of them: make, edit, copy, delete. */
import type { ObjectView, ServiceView } from '@marcher/client/fleet';
import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';
import { type ReactNode, useState } from 'react';
import { useConsole, useFleet } from '../state/console.js';
import { said } from '../text/said.js';
import { DoButton } from './deeds.js';
import { EditDialog } from './edit-dialog.js';
import { type Edited, nameOf, nameOfCopy } from './edited.js';
import { declaredNow, type Edit, editing, type Kind, type Write } from './write.js';
import { WriteDialog } from './write-dialog.js';

type Doing = { readonly edited: Edited } | { readonly write: Write };
type Named = Pick<ServiceView | ObjectView, 'kind' | 'name'>;

export interface ObjectWrites {
  readonly make: (kind: Kind) => void;
  /** Buttons for one of them. */
  readonly buttons: (view: ServiceView | ObjectView) => ReactNode;
  /** Of what was begun. Has its place in the page as long as that is shown, whatever comes and goes beside it. */
  readonly dialog: ReactNode;
}

export function useObjectWrites(): ObjectWrites {
  const { reach, notify } = useConsole();
  const { services, objects } = useFleet();
  const [doing, setDoing] = useState<Doing | undefined>(undefined);
  const close = (): void => setDoing(undefined);
  const isTaken = (kind: Kind, name: string): boolean =>
    kind === 'Service' ? services.has(name) : objects.has(`${kind}/${name}`);
  /** As the agent has it now: what is observed may be half a second older. */
  const begin = (view: Named, make: (edited: Edited) => Doing | Promise<Doing>): void => {
    reach()
      .then(({ entry }) => declaredNow(entry, view))
      .then(make)
      .then(setDoing, (reason: unknown) => notify(said((reason as Error).message)));
  };
  const remove = async (edited: Edited): Promise<Doing> => {
    const edit = { kind: edited.kind, name: nameOf(edited), before: edited.declared, after: undefined } as Edit;
    return { write: await editing((await reach()).entry, [edit]) };
  };
  const copy = (view: ServiceView | ObjectView): void => {
    const name = nameOfCopy(view.name, (each) => isTaken(view.kind, each));
    if (view.kind === 'Service') {
      setDoing({ edited: { kind: 'Service', declared: undefined, like: { ...(view.declared as Service), name } } });
      return;
    }
    const { kind, declared } = view;
    setDoing({ edited: { kind, declared: undefined, like: renamed(declared as Object$, name) } });
  };
  return {
    make: (kind) => setDoing({ edited: { kind, declared: undefined } as Edited }),
    buttons: (view) => {
      const not = view.declared === undefined ? 'No node that has answered says what it declares' : undefined;
      return (
        <span className="buttons">
          <DoButton not={not} onClick={() => begin(view, (edited) => ({ edited }))}>
            Edit
          </DoButton>
          <DoButton not={not} onClick={() => copy(view)}>
            Copy
          </DoButton>
          <DoButton not={not} tone="danger" onClick={() => begin(view, remove)}>
            Delete
          </DoButton>
        </span>
      );
    },
    dialog:
      doing === undefined ? null : 'write' in doing ? (
        <WriteDialog write={doing.write} onClose={close} />
      ) : (
        <EditDialog edited={doing.edited} onClose={close} />
      ),
  };
}

function renamed(object: Object$, name: string): Object$ {
  const { object: of } = object;
  if (of.case === 'guard') return { ...object, object: { case: 'guard', value: { ...of.value, name } } };
  if (of.case === 'trafficPolicy')
    return { ...object, object: { case: 'trafficPolicy', value: { ...of.value, name } } };
  return object;
}
