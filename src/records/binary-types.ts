import { isDeepStrictEqual, types } from 'node:util';
import { type BuiltInType, KEEP_BESIDE, MALFORMED, refuseOwnProperties, type ValueWalk } from './built-in-type.js';
import { MARKER } from './json-object.js';

type TypedArray = Exclude<NodeJS.TypedArray, Buffer>;

interface TypedArrayConstructor {
  readonly name: string;
  readonly prototype: object;
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): TypedArray;
}

/** Bytes and numbers in bulk, as base64 of exactly the bytes in view, in the machine's (little-endian) order. */
export const BINARY_TYPES: readonly BuiltInType[] = [
  bufferType(),
  arrayBufferType(),
  dataViewType(),
  typedArrayType(Int8Array, types.isInt8Array),
  typedArrayType(Uint8Array, types.isUint8Array),
  typedArrayType(Uint8ClampedArray, types.isUint8ClampedArray),
  typedArrayType(Int16Array, types.isInt16Array),
  typedArrayType(Uint16Array, types.isUint16Array),
  typedArrayType(Int32Array, types.isInt32Array),
  typedArrayType(Uint32Array, types.isUint32Array),
  typedArrayType(Float32Array, types.isFloat32Array),
  typedArrayType(Float64Array, types.isFloat64Array),
  typedArrayType(BigInt64Array, types.isBigInt64Array),
  typedArrayType(BigUint64Array, types.isBigUint64Array),
];

function bufferType(): BuiltInType<Buffer> {
  return {
    tag: `${MARKER}Buffer`,
    prototype: Buffer.prototype,
    levels: 1,
    isGenuine: types.isUint8Array,
    encode(buffer, walk) {
      refuseNamedProperties(buffer, walk, () => Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength));
      return encodeBase64(buffer, walk);
    },
    decode: (payload) => decodeBase64(payload) ?? MALFORMED,
  };
}

function arrayBufferType(): BuiltInType<ArrayBuffer> {
  return {
    tag: `${MARKER}ArrayBuffer`,
    prototype: ArrayBuffer.prototype,
    levels: 1,
    isGenuine: types.isArrayBuffer,
    encode(buffer, walk) {
      refuseOwnProperties(buffer, walk);
      return encodeBase64({ buffer, byteOffset: 0, byteLength: buffer.byteLength }, walk);
    },
    decode: (payload) => decodeArrayBuffer(payload) ?? MALFORMED,
  };
}

function dataViewType(): BuiltInType<DataView> {
  return {
    tag: `${MARKER}DataView`,
    prototype: DataView.prototype,
    levels: 1,
    isGenuine: types.isDataView,
    encode(view, walk) {
      refuseOwnProperties(view, walk);
      return encodeBase64(view, walk);
    },
    decode(payload) {
      const buffer = decodeArrayBuffer(payload);
      return buffer === undefined ? MALFORMED : new DataView(buffer);
    },
  };
}

function typedArrayType(
  ArrayClass: TypedArrayConstructor,
  isGenuine: (value: unknown) => boolean,
): BuiltInType<TypedArray> {
  return {
    tag: MARKER + ArrayClass.name,
    prototype: ArrayClass.prototype,
    levels: 1,
    isGenuine,
    encode(array, walk) {
      refuseNamedProperties(array, walk, () => new ArrayClass(array.buffer, array.byteOffset, array.length));
      return encodeBase64(array, walk);
    },
    decode(payload) {
      const buffer = decodeArrayBuffer(payload);
      if (buffer === undefined || buffer.byteLength % ArrayClass.BYTES_PER_ELEMENT !== 0) return MALFORMED;
      return new ArrayClass(buffer);
    },
  };
}

/** The accessors of the prototype, which an own property of the same name would hide. */
const VIEW_KEYS = ['buffer', 'byteLength', 'byteOffset', 'length'];

/**
 * Listing the keys of a large array makes a string for each of its numbers, at the price of encoding it. Comparing it
 * with a bare view of the same memory finds named properties three hundred times faster.
 */
function refuseNamedProperties(array: TypedArray | Buffer, walk: ValueWalk, bareView: () => object): void {
  if (VIEW_KEYS.some((key) => Object.hasOwn(array, key)) || !isDeepStrictEqual(array, viewOf(walk, bareView))) {
    throw walk.unserializable(`is a typed array with named properties. ${KEEP_BESIDE}`);
  }
}

interface ByteRange {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly byteLength: number;
}

function encodeBase64({ buffer, byteOffset, byteLength }: ByteRange, walk: ValueWalk): string {
  if (types.isSharedArrayBuffer(buffer)) throw walk.unserializable('is in shared memory. Keep a copy of the bytes.');
  if ((buffer as { readonly resizable?: boolean }).resizable) {
    throw walk.unserializable('is in a resizable buffer, which would come back fixed. Keep a copy of the bytes.');
  }
  const bytes = viewOf(walk, () => Buffer.from(buffer, byteOffset, byteLength));
  walk.reserve(Math.ceil(byteLength / 3) * 4);
  return bytes.toString('base64');
}

function viewOf<View>(walk: ValueWalk, view: () => View): View {
  try {
    return view();
  } catch (error) {
    throw walk.unserializable('has no bytes left: its buffer was transferred elsewhere.', error);
  }
}

function decodeBase64(payload: unknown): Buffer | undefined {
  if (typeof payload !== 'string') return undefined;
  const bytes = Buffer.from(payload, 'base64');
  // Node skips what is not base64; what it read must be all there was.
  return bytes.toString('base64') === payload ? bytes : undefined;
}

/** A copy in memory of its own: small Buffers are slices of a pool that other code writes to. */
function decodeArrayBuffer(payload: unknown): ArrayBuffer | undefined {
  const bytes = decodeBase64(payload);
  return bytes && new Uint8Array(bytes).buffer;
}
