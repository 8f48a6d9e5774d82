"""Mutates the package, one place at a time, and lists the mutants that no test of CONTRIBUTING.md's table kills.

    make mutants N=100 SEED=42 ROOM='zoo utils/config.py'

The seed determines which N mutants are drawn. The same command resumes an interrupted run; a larger N extends a
finished run. Results are stored in .mutants/COMMIT. Tests run in two clones of the commit, never in this checkout.

cosmic-ray makes the mutants and stores the results. First, the tests of the chosen folders and files run once with
coverage, which records the tests that reach each line. Each mutant is then tested only with the tests that reach it,
first those in the module's own test file, then the quickest. They run in a fork of a process that has imported
OpenMMLab.

Limits: tests that fail without a mutant are skipped. Where a process caches a result, coverage records only the first
test that computes it. A mutant that is equivalent to the original survives.
"""
import argparse
import ast
import difflib
import json
import multiprocessing
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest
from tests_of import ROOT, tests_of

PACKAGE = 'mmvit_backbones'
ROOMS = ('backbones', 'layers', 'ops', 'zoo', 'utils', 'data', 'training', 'inference', 'cli')
# Mutants of Triton kernels are not valid Triton, and the tests of the build need a compiler.
LEFT_OUT = ('ops/triton', 'ops/build.py')
# Mutants in these folders are also tested with TESTS_OF_NETWORKS.
NETWORKS = ('backbones', 'layers', 'ops')
TESTS_OF_NETWORKS = ['tests/test_goldens.py', 'tests/test_contract.py']
# File of surviving mutants whose effect no user could notice, each with the reason.
UNNOTICED = ROOT / 'tools/dev/unnoticed_mutants.txt'
WORKERS = 2
DATA_LIMIT = 8 << 30  # bytes per test process: a mutant of a size limit could allocate all memory
# Modules imported once, in the process that is forked for each mutant.
PRELOADED = ['__main__', 'setuptools', 'torch', 'cv2', *(f'{name}.{part}' for name in ('mmdet', 'mmseg', 'mmpretrain')
                                           for part in ('datasets', 'models'))]
ENVIRONMENT = dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', MPLBACKEND='Agg', TRITON_INTERPRET='1')
COVERAGE = """
[run]
source = {source}
data_file = {data}
parallel = true
concurrency = multiprocessing,thread
# In processes started by a test, the context is the name of the test.
context = ${{PYTEST_CURRENT_TEST-}}
disable_warnings = no-data-collected, module-not-measured, module-not-imported, already-imported, couldnt-parse
"""
NEVER_NOTICED = ('__repr__', '__str__', 'extra_repr')
LOGGING = ('print_log', 'info', 'warning', 'warn', 'debug')
ARITHMETIC = 'Add', 'Sub', 'Mul', 'Div', 'FloorDiv', 'Mod', 'Pow'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--number', type=int, default=100, help='number of mutants')
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--rooms', nargs='*', default=ROOMS, help='folders or files of the package')
    parser.add_argument('--commit', default='HEAD')
    arguments = parser.parse_args()
    commit = git('rev-parse', '--short=12', arguments.commit)
    modules = modules_of(arguments.rooms or ROOMS, commit)
    print(f'SEED={arguments.seed} COMMIT={commit}: {len(modules)} files', flush=True)
    session = Session(commit)
    for number in (signal.SIGINT, signal.SIGTERM):  # shells ignore SIGINT in background processes
        signal.signal(number, signal.default_int_handler)
    sample, code = [], 0
    try:
        session.start()
        sample = session.draw(modules, arguments.number, arguments.seed)
        session.map_tests({path for module in modules for path in tests_for(module)})
        session.test(sample)
    except KeyboardInterrupt:
        print(f'interrupted; SEED={arguments.seed} COMMIT={commit} resumes')
        code = 130
    finally:
        session.stop()
    report(sample, dict(session.db.results))
    sys.exit(code)


def git(*command: str) -> str:
    return subprocess.run(['git', '-C', ROOT, *command], check=True, capture_output=True, text=True).stdout.strip()


def modules_of(places: list[str], commit: str) -> list[str]:
    """Returns the paths of the modules in the given folders and files, relative to the root.

    Raises:
        SystemExit: If a folder or file has no module.
    """
    known = [path for path in git('ls-tree', '-r', '--name-only', commit, PACKAGE).splitlines() if path.endswith('.py')]
    known = [path for path in known if path.split('/')[1] in ROOMS and not in_any(path, LEFT_OUT)]
    for place in places:
        if not any(in_any(path, [place]) for path in known):
            sys.exit(f'error: ROOM={place} must be a folder or a file of {", ".join(ROOMS)}')
    return [path for path in known if in_any(path, places)]


def in_any(path: str, places: list[str]) -> bool:
    """Returns whether a path is, or is inside, one of the given folders and files of the package."""
    return any(path == f'{PACKAGE}/{place}' or path.startswith(f'{PACKAGE}/{place}/') for place in places)


def tests_for(module: str) -> list[str]:
    """Returns the folders and files of a module's tests, without those inside another folder of the list."""
    paths = tests_of(Path(module)) + (TESTS_OF_NETWORKS if room_of(module) in NETWORKS else [])
    return sorted({path for path in paths if not any(path.startswith(f'{other}/') for other in paths)})


def room_of(module: str) -> str:
    return module.split('/')[1]


# Mutants


def work_items(clone: Path, module: str) -> Iterator:
    """Yields the mutants of a module, as cosmic-ray's ``init`` does, except those that change no behavior."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names
    from cosmic_ray.work_item import MutationSpec, WorkItem
    operators = {name: get_operator(name)() for name in operator_names()
                 if not get_operator(name).arguments() and makes_sense(name)}
    left_out = texts_and_types(ast.parse((clone / module).read_text()))
    occurrences = Counter()
    for node in ast_nodes(get_ast_from_path(clone / module)):
        for name, operator in operators.items():
            for start, end in operator.mutation_positions(node):
                occurrence = occurrences[name]
                occurrences[name] += 1
                if not any(first <= start and end <= last for first, last in left_out):
                    yield WorkItem.single(uuid.uuid4().hex, MutationSpec(module, name, occurrence, start, end))


def makes_sense(operator: str) -> bool:
    """Returns whether the mutants of a cosmic-ray operator are informative about the tests.

    Replacements of arithmetic by bitwise operators, such as ``a ^ b`` for ``a * b``, are half of all mutants and raise
    TypeError for floats and tensors. Replacements of ``==`` by ``is`` mostly give the same result.
    """
    kind, *operands = operator.partition('/')[2].split('_')
    if kind == 'ReplaceBinaryOperator':
        return len({operand in ARITHMETIC for operand in operands}) == 1
    return kind != 'ReplaceComparisonOperator' or set(operands) not in ({'Eq', 'Is'}, {'NotEq', 'IsNot'})


def texts_and_types(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Returns the positions of code that no test need check: types, their imports, logs and representations."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AnnAssign, ast.arg)):
            found.append(node.returns if isinstance(node, ast.FunctionDef) else node.annotation)
        if isinstance(node, ast.FunctionDef) and node.name in NEVER_NOTICED:
            found.append(node)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == 'Literal':
            found.append(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            found.append(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition('.')[2] in LOGGING:
            found.append(node)
    return [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in found if node]


def at_import(tree: ast.Module) -> set[int]:
    """Returns the lines that run when a module is imported: all lines outside functions."""
    inside = {line for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
              for line in range(node.body[0].lineno, node.end_lineno + 1)}
    return set(range(1, tree.body[-1].end_lineno + 1)) - inside if tree.body else set()


# Running tests


class ChosenTests:
    """Pytest plugin that runs the chosen tests in the given order, and records durations and failures."""

    def __init__(self, chosen: list[str] | None) -> None:
        self.order = None if chosen is None else {name: number for number, name in enumerate(chosen)}
        self.seconds, self.failed = defaultdict(float), set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list) -> None:
        if self.order is not None:
            items[:] = sorted((item for item in items if item.nodeid in self.order),
                              key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.outcome != 'passed':
            self.failed.add(report.nodeid)


def run_pytest(clone: Path, options: list[str], chosen: list[str] | None, out: Path | None, environment: dict) -> None:
    """Runs pytest in a clone, then exits with its code."""
    import resource
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # tests use the default start method, not the fork server
    os.chdir(clone)
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, DATA_LIMIT))
    with open(clone.with_suffix('.log'), 'wb') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    temporary = clone.with_suffix('.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    os.environ.update(environment, PYTHONPATH=str(clone))
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
    sys.dont_write_bytecode = False
    sys.path.insert(0, str(clone))
    plugin = ChosenTests(chosen)
    code = pytest.main(['-q', '-m', 'not compiler', '-p', 'no:cacheprovider', f'--basetemp={temporary}', *options],
                       plugins=[plugin])
    if out:
        out.write_text(json.dumps({name: seconds for name, seconds in plugin.seconds.items()
                                   if name not in plugin.failed}))
    sys.exit(int(code))


class Session:
    """The mutants and results of a commit, its map from lines to tests, and the clones in which tests run."""

    def __init__(self, commit: str) -> None:
        from cosmic_ray.work_db import WorkDB
        self.commit = commit
        self.folder = ROOT / '.mutants' / commit
        self.folder.mkdir(parents=True, exist_ok=True)
        self.db = WorkDB(self.folder / 'session.sqlite', WorkDB.Mode.create)
        self.clones = [self.folder / f'clone{number}' for number in range(WORKERS)]
        self.free = queue.Queue()
        self.stopped = threading.Event()
        self.fork = multiprocessing.get_context('forkserver')

    def start(self) -> None:
        """Makes the clones, and lists all mutants unless the session has a list."""
        self.stop()
        for clone in self.clones:
            subprocess.run(['git', 'clone', '--quiet', '--shared', '--no-checkout', ROOT, clone], check=True)
            subprocess.run(['git', '-C', clone, 'checkout', '--quiet', self.commit], check=True)
            for library in (ROOT / PACKAGE / 'ops').glob('*.so'):
                shutil.copy(library, clone / PACKAGE / 'ops')
            self.free.put(clone)
        # Later, a clone may contain a mutant.
        self.texts = {module: (self.clones[0] / module).read_text() for module in modules_of(ROOMS, self.commit)}
        if not self.db.num_work_items:
            print('listing mutants', flush=True)
            self.db.add_work_items([item for module in modules_of(ROOMS, self.commit)
                                    for item in work_items(self.clones[0], module)])
        os.environ.update(ENVIRONMENT)
        self.fork.set_forkserver_preload(PRELOADED)

    def stop(self) -> None:
        """Removes the clones."""
        for clone in self.clones:
            for path in (clone, clone.with_suffix('.tmp')):
                shutil.rmtree(path, ignore_errors=True)

    def draw(self, modules: list[str], number: int, seed: int) -> list:
        """Returns a random sample with at most one mutant per position."""
        results = dict(self.db.results)
        items = sorted((item for item in self.db.work_items if place(item)[0] in modules), key=place)
        random.Random(seed).shuffle(items)
        one_each = list({place(item)[:2]: item for item in reversed(items)}.values())[::-1]
        sample = []
        for item in one_each:
            if len(sample) == number:
                break
            if item.job_id not in results and not self.is_program(item):
                results[item.job_id] = self.keep(item, 'INCOMPETENT', '', 0)
            if item.job_id not in results or results[item.job_id].test_outcome.name != 'INCOMPETENT':
                sample.append(item)
        return sample

    def is_program(self, item) -> bool:
        """Returns whether a mutant is valid Python, unlike ``f(/args)`` for ``f(*args)``."""
        _, after = self.sources(item)
        try:
            return after is not None and bool(compile(after, '', 'exec'))
        except (SyntaxError, ValueError):
            return False

    def sources(self, item) -> tuple[str, str | None]:
        """Returns the source of a module, and of its mutant, or None if cosmic-ray cannot make it."""
        from cosmic_ray.mutating import mutate_code
        from cosmic_ray.plugins import get_operator
        mutation, = item.mutations
        before = self.texts[str(mutation.module_path)]
        try:
            return before, mutate_code(before, get_operator(mutation.operator_name)(), mutation.occurrence)
        except AttributeError:  # ExceptionReplacer does not support dotted names
            return before, None

    def keep(self, item, outcome: str, output: str, seconds: float):
        """Stores a result, and returns it."""
        from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult
        before, after = self.sources(item)
        diff = difflib.unified_diff(before.splitlines(), (after or '').splitlines(), n=0, lineterm='')
        result = WorkResult(WorkerOutcome.NORMAL, f'{seconds:.1f} s\n{output}', TestOutcome[outcome],
                            '\n'.join(list(diff)[3:]) if after else '')
        self.db.set_result(item.job_id, result)
        return result

    def map_tests(self, paths: set[str]) -> None:
        """Runs the tests of the paths with coverage, except those mapped before."""
        self.map = self.folder / 'map'
        self.map.mkdir(exist_ok=True)
        paths = [path for path in sorted(paths, key=lambda path: path.endswith('.py')) if not self.noted(path).exists()]
        self.each(paths, self.map_path)

    def noted(self, path: str) -> Path:
        """Returns the file for the durations of a path's tests. The lines that they reach are in ``FILE.coverage``."""
        return self.map / path.replace('/', '.').removesuffix('.py')

    def map_path(self, clone: Path, path: str) -> str:
        noted = self.noted(path)
        config = noted.with_name(noted.name + '.ini')
        data = noted.with_name(noted.name + '.coverage')
        config.write_text(COVERAGE.format(source=clone / PACKAGE, data=data))
        options = ['--cov', f'--cov-config={config}', '--cov-context=test', '--cov-report=', path]
        begin = time.monotonic()
        unfinished = noted.with_name(noted.name + '.new')
        code = self.run(clone, options, None, None, unfinished, dict(COVERAGE_PROCESS_START=str(config)))
        if code not in (0, 1):
            raise RuntimeError(f'{path}: pytest ended with {code}: {log_of(clone)[-2000:]}')
        unfinished.rename(noted)
        failed = f'; failed:\n{log_of(clone)[-3000:]}' if code else ''
        return f'{path}: mapped in {time.monotonic() - begin:.0f} s{failed}'

    def read_map(self, modules: set[str]) -> None:
        """Reads the durations of tests, and the tests of each line of the modules."""
        from coverage import CoverageData
        self.seconds = {}
        self.reached = defaultdict(lambda: defaultdict(set))
        for path in {path for module in modules for path in tests_for(module)}:
            self.seconds |= json.loads(self.noted(path).read_text())
            data = CoverageData(str(self.noted(path)) + '.coverage')
            data.read()
            for file in data.measured_files():
                module = file[file.rindex(f'/{PACKAGE}/') + 1:]
                if module in modules:
                    for line, contexts in data.contexts_by_lineno(file).items():
                        self.reached[module][line] |= {name_of(context) for context in contexts}

    def choose(self, item) -> list[str]:
        """Returns the tests that reach a mutant: first those in the module's own test file, then the quickest.

        For a default value of an argument, returns the tests that reach the function. For another line that runs at
        import, returns the tests that reach the module's functions, then all other tests of the module. For a line
        without recorded tests, for example because the tested process was killed, returns the tests that reach the
        module's functions.
        """
        mutation, = item.mutations
        module, line = str(mutation.module_path), mutation.start_pos[0]
        tree = ast.parse(self.texts[module])
        paths = tests_for(module)
        known = [name for name in self.seconds if name.split('::')[0] in paths or
                 any(name.startswith(f'{path}/') for path in paths)]
        imported = at_import(tree)
        lines = self.reached[module]
        functions = {name for number, names in lines.items() if number not in imported for name in names}
        # Coverage records only the first line of a statement.
        statement = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.lineno <= line <=
                     node.end_lineno and not hasattr(node, 'body')]
        reached = set.union(lines[line], *(lines[node.lineno] for node in statement))
        owner = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and
                 node.lineno <= line < node.body[0].lineno]
        if owner:
            body = range(owner[0].body[0].lineno, owner[0].end_lineno + 1)
            reached = set.union(*(lines[number] for number in body)) - {''}
        always = line in imported and not owner or '' in reached
        first = functions if always else (reached or functions)
        stem = f'test_{Path(module).stem}.py'
        chosen = [name for name in known if always or name in first]
        return sorted(chosen, key=lambda name: (name not in first, name.split('::')[0].split('/')[-1] != stem,
                                                self.seconds[name]))

    def test(self, sample: list) -> None:
        done = {job for job, _ in self.db.results}
        self.read_map({str(item.mutations[0].module_path) for item in sample})
        self.each([item for item in sample if item.job_id not in done], self.test_mutant)

    def test_mutant(self, clone: Path, item) -> str:
        from cosmic_ray.mutating import use_mutation
        from cosmic_ray.plugins import get_operator
        mutation, = item.mutations
        chosen = self.choose(item)
        timeout = 5 * sum(self.seconds[name] for name in chosen) + 60
        files = list(dict.fromkeys(name.split('::')[0] for name in chosen))
        begin = time.monotonic()
        operator = get_operator(mutation.operator_name)()
        code = 0
        if chosen:
            with use_mutation(clone / mutation.module_path, operator, mutation.occurrence):
                code = self.run(clone, ['-x', '--no-header', '--tb=line', *files], chosen, timeout, None, {})
        seconds = time.monotonic() - begin
        output = 'timeout' if code is None else log_of(clone)[-3000:] if chosen else 'no test'
        outcome = 'SURVIVED' if code in (0, 5) else 'KILLED'
        result = self.keep(item, outcome, output, seconds)
        return f'{describe(item, result)}: {len(chosen)} tests, {seconds:.0f} s\n{result.diff}'

    def each(self, tasks: list, work: Callable[[Path, object], str]) -> None:
        """Calls ``work`` for each task and prints the results, in one thread per clone."""
        def in_a_clone(task) -> str | None:
            if self.stopped.is_set():
                return None
            clone = self.free.get()
            try:
                return work(clone, task)
            finally:
                self.free.put(clone)

        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                futures = [pool.submit(in_a_clone, task) for task in tasks]
                for number, future in enumerate(as_completed(futures), 1):
                    print(f'[{number}/{len(tasks)}] {future.result()}', flush=True)
            except BaseException:
                self.stopped.set()  # ends the other threads
                raise

    def run(self, clone: Path, options: list[str], chosen: list[str] | None, timeout: float | None, out: Path | None,
            environment: dict) -> int | None:
        """Runs pytest in a forked process; returns its exit code, or None after the timeout."""
        process = self.fork.Process(target=run_pytest, args=(clone, options, chosen, out, environment))
        process.start()
        deadline = None if timeout is None else time.monotonic() + timeout
        while process.is_alive() and not self.stopped.is_set() and (deadline is None or time.monotonic() < deadline):
            process.join(1)
        code = None if process.is_alive() else process.exitcode
        process.kill()
        process.join()
        end_processes(clone)  # a mutant may leave processes of the tests behind
        if self.stopped.is_set():
            raise InterruptedError
        return code


def end_processes(clone: Path) -> None:
    """Kills processes whose working folder is in the clone, or whose environment names the clone."""
    for process in Path('/proc').glob('[0-9]*'):
        try:
            inside = os.readlink(process / 'cwd').startswith(str(clone))
            if inside or str(clone).encode() in (process / 'environ').read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:  # the process has ended or belongs to another user
            pass


def log_of(clone: Path) -> str:
    return clone.with_suffix('.log').read_text(errors='replace')


def name_of(context: str) -> str:
    """Returns the test of a context.

    It is ``NAME|run`` in pytest's process, ``NAME (call)`` in processes that the test starts, and
    ``FIRST (call)|NAME (call)`` in those forked from a server that an earlier test, ``FIRST``, has started.
    """
    name = context.removesuffix('|run').removesuffix('|setup').removesuffix('|teardown').rpartition('|')[2]
    return name.rpartition(' (')[0] if name.endswith(')') else name


def place(item) -> tuple:
    mutation, = item.mutations
    return str(mutation.module_path), mutation.start_pos, mutation.operator_name, mutation.occurrence


def describe(item, result) -> str:
    mutation, = item.mutations
    return f'{outcome_of(result)} {mutation.module_path}:{mutation.start_pos[0]}'


def outcome_of(result) -> str:
    return 'timed out' if result.output.endswith('\ntimeout') else result.test_outcome.value


def report(sample: list, results: dict) -> None:
    """Prints the survivors and the number of mutants per folder and outcome."""
    unnoticed = {tuple(block.splitlines()[:3]) for block in UNNOTICED.read_text().split('\n\n')}
    rooms, survivors = defaultdict(Counter), []
    for item in sample:
        if result := results.get(item.job_id):
            module, outcome = str(item.mutations[0].module_path), outcome_of(result)
            if outcome == 'survived' and (module, *result.diff.splitlines()) in unnoticed:
                outcome = 'unnoticed'
            elif outcome == 'survived':
                survivors.append(f'{describe(item, result)}\n{result.diff}')
            rooms[room_of(module)].update({outcome: 1, 'seconds': float(result.output.split()[0])})
            rooms['all'].update({outcome: 1, 'seconds': float(result.output.split()[0])})
    print('\n'.join(['', *survivors, '']))
    columns = 'killed', 'survived', 'unnoticed', 'timed out', 'seconds'
    print(f'{"":12}' + ''.join(f'{column:>11}' for column in columns))
    for room in (*ROOMS, 'all'):
        if room in rooms:
            print(f'{room:12}' + ''.join(f'{rooms[room][column]:11.0f}' for column in columns))


if __name__ == '__main__':
    main()
