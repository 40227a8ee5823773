// @ts-check
import { fileStorage } from 'holdfast';

/** @param {string} argument JSON: the directory and the options of the store. */
export default function open(argument) {
  const { directory, options } = JSON.parse(argument);
  return fileStorage(directory, options);
}
