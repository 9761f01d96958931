// SPDX-License-Identifier: Apache-2.0
/**
 * Server reflection v1 and v1alpha, so that grpcurl, `buf curl` and Postman need no .proto files.
 * https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
 */
import { createRegistry, type DescFile, type DescService, type Registry, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Code, type ConnectRouter } from '@connectrpc/connect';
import { ServerReflection } from '@marcher/proto/grpc/reflection/v1/reflection_pb';
import { ServerReflection as ServerReflectionAlpha } from '@marcher/proto/grpc/reflection/v1alpha/reflection_pb';

/** The two versions differ in their package only. */
interface Question {
  readonly messageRequest:
    | { readonly case: 'fileByFilename' | 'fileContainingSymbol' | 'allExtensionNumbersOfType'; readonly value: string }
    | { readonly case: 'listServices'; readonly value: string }
    | {
        readonly case: 'fileContainingExtension';
        readonly value: { readonly containingType: string; readonly extensionNumber: number };
      }
    | { readonly case: undefined };
}

type Answer =
  | { readonly case: 'fileDescriptorResponse'; readonly value: { fileDescriptorProto: Uint8Array[] } }
  | {
      readonly case: 'allExtensionNumbersResponse';
      readonly value: { baseTypeName: string; extensionNumber: number[] };
    }
  | { readonly case: 'listServicesResponse'; readonly value: { service: { name: string }[] } }
  | { readonly case: 'errorResponse'; readonly value: { errorCode: number; errorMessage: string } };

export function routeReflectionServices(router: ConnectRouter, services: readonly DescService[]): void {
  const served = [...services, ServerReflection, ServerReflectionAlpha];
  let index: SymbolIndex | undefined;
  const answer = (question: Question): Answer => {
    // Built when first asked for: most agents are never reflected upon.
    index ??= new SymbolIndex(served);
    return index.answer(question);
  };
  router.service(ServerReflection, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield { validHost: request.host, originalRequest: request, messageResponse: answer(request) };
      }
    },
  });
  router.service(ServerReflectionAlpha, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield { validHost: request.host, originalRequest: request, messageResponse: answer(request) };
      }
    },
  });
}

class SymbolIndex {
  private readonly names: string[];
  private readonly registry: Registry;
  private readonly files = new Map<string, DescFile>();
  private readonly fileOfSymbol = new Map<string, DescFile>();
  private readonly encoded = new Map<string, Uint8Array>();

  constructor(services: readonly DescService[]) {
    this.names = services.map((service) => service.typeName).sort();
    const files = withDependencies(services.map((service) => service.file));
    this.registry = createRegistry(...files);
    // protobuf-es keeps names without their suffix.
    for (const file of files) this.files.set(`${file.name}.proto`, file);
    for (const desc of this.registry) {
      this.fileOfSymbol.set(desc.typeName, desc.file);
      if (desc.kind === 'service') {
        for (const method of desc.methods) this.fileOfSymbol.set(`${desc.typeName}.${method.name}`, desc.file);
      } else if (desc.kind === 'message') {
        for (const field of desc.fields) this.fileOfSymbol.set(`${desc.typeName}.${field.name}`, desc.file);
        for (const oneof of desc.oneofs) this.fileOfSymbol.set(`${desc.typeName}.${oneof.name}`, desc.file);
      } else if (desc.kind === 'enum') {
        // Values are siblings of their enum in protobuf's scoping.
        const scope = desc.typeName.slice(0, desc.typeName.lastIndexOf('.') + 1);
        for (const value of desc.values) this.fileOfSymbol.set(scope + value.name, desc.file);
      }
    }
  }

  answer({ messageRequest }: Question): Answer {
    switch (messageRequest.case) {
      case 'listServices':
        return { case: 'listServicesResponse', value: { service: this.names.map((name) => ({ name })) } };
      case 'fileByFilename':
        return this.descriptors(this.files.get(messageRequest.value), `file "${messageRequest.value}"`);
      case 'fileContainingSymbol': {
        const symbol = messageRequest.value.replace(/^\./, '');
        return this.descriptors(this.fileOfSymbol.get(symbol), `symbol "${symbol}"`);
      }
      case 'fileContainingExtension': {
        const { containingType, extensionNumber } = messageRequest.value;
        const message = this.registry.getMessage(containingType);
        const extension = message && this.registry.getExtensionFor(message, extensionNumber);
        return this.descriptors(extension?.file, `extension ${extensionNumber} of "${containingType}"`);
      }
      case 'allExtensionNumbersOfType': {
        const baseTypeName = messageRequest.value;
        if (this.registry.getMessage(baseTypeName) === undefined) return notFound(`message "${baseTypeName}"`);
        const extensionNumber: number[] = [];
        for (const desc of this.registry) {
          if (desc.kind === 'extension' && desc.extendee.typeName === baseTypeName) extensionNumber.push(desc.number);
        }
        return { case: 'allExtensionNumbersResponse', value: { baseTypeName, extensionNumber } };
      }
      default:
        return {
          case: 'errorResponse',
          value: {
            errorCode: Code.InvalidArgument,
            errorMessage: 'message_request is not set: expected one of its fields',
          },
        };
    }
  }

  /** The file and everything it imports, so that a client needs one question. */
  private descriptors(file: DescFile | undefined, what: string): Answer {
    if (file === undefined) return notFound(what);
    return {
      case: 'fileDescriptorResponse',
      value: { fileDescriptorProto: withDependencies([file]).map((each) => this.encode(each)) },
    };
  }

  private encode(file: DescFile): Uint8Array {
    let bytes = this.encoded.get(file.name);
    if (bytes === undefined) {
      bytes = toBinary(FileDescriptorProtoSchema, file.proto);
      this.encoded.set(file.name, bytes);
    }
    return bytes;
  }
}

function withDependencies(files: readonly DescFile[]): DescFile[] {
  const seen = new Map<string, DescFile>();
  const visit = (file: DescFile): void => {
    if (seen.has(file.name)) return;
    seen.set(file.name, file);
    for (const dependency of file.dependencies) visit(dependency);
  };
  for (const file of files) visit(file);
  return [...seen.values()];
}

function notFound(what: string): Answer {
  return { case: 'errorResponse', value: { errorCode: Code.NotFound, errorMessage: `${what} is not known here` } };
}
