//! The architecture: which rooms `src/` has, which of them use which, and that no files use each other in a circle.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue panics, and says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree};

/// The rooms, lowest first: each uses only itself and those before it.
const ROOMS: [&str; 12] = [
    "calendar",
    "model",
    "clock",
    "store",
    "pipeline",
    "config",
    "people",
    "operations",
    "http",
    "runtime",
    "dev",
    "cli",
];
const MAX_FILE_LINES: usize = 500;

/// A module by the names that lead to it; the crate's root has none.
type Module = Vec<String>;

/// The modules of a crate that have a file of their own, each with the modules that it names.
struct Crate {
    files: BTreeMap<Module, PathBuf>,
    uses: BTreeMap<Module, BTreeSet<Module>>,
}

impl Crate {
    fn read(root: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut files = BTreeMap::new();
        find_files(&root, &mut Vec::new(), &mut files);
        let uses = files.iter().map(|(module, path)| (module.clone(), references(module, path, &files)));
        Self { uses: uses.collect(), files }
    }

    /// Uses between files of which neither contains the other: a parent and its parts belong together.
    fn across(&self) -> impl Iterator<Item = (&Module, &Module)> {
        let pairs = self.uses.iter().flat_map(|(user, used)| used.iter().map(move |used| (user, used)));
        pairs.filter(|(user, used)| !user.starts_with(used) && !used.starts_with(user))
    }

    /// Returns the files that can reach themselves, by the names on the way.
    fn circles(&self) -> Vec<String> {
        let mut next: BTreeMap<&Module, Vec<&Module>> = BTreeMap::new();
        for (user, used) in self.across() {
            next.entry(user).or_default().push(used);
        }
        let circles = next.keys().filter_map(|start| {
            let way = way_back(start, &next)?;
            Some(way.iter().map(|module| module.join("/")).collect::<Vec<_>>().join(" -> "))
        });
        circles.collect()
    }
}

/// Returns the shortest way from `start` to itself.
fn way_back<'a>(start: &'a Module, next: &BTreeMap<&'a Module, Vec<&'a Module>>) -> Option<Vec<&'a Module>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for &module in next.get(way[way.len() - 1]).into_iter().flatten() {
                let way = [&way[..], &[module]].concat();
                if module == start {
                    return Some(way);
                }
                if seen.insert(module) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

fn find_files(directory: &Path, module: &mut Module, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            module.push(name);
            find_files(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let root = matches!(&*name, "mod" | "lib" | "main");
            let own = module.iter().cloned().chain((!root).then_some(name)).collect();
            files.insert(own, path);
        }
    }
}

fn references(module: &Module, path: &Path, files: &BTreeMap<Module, PathBuf>) -> BTreeSet<Module> {
    let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
    let mut names = Names { module: module.clone(), paths: Vec::new() };
    names.visit_file(&file);
    let modules = names.paths.into_iter().map(|path| {
        let longest = (0..=path.len()).rev().map(|len| &path[..len]);
        longest.map(<[String]>::to_vec).find(|prefix| files.contains_key(prefix)).unwrap_or_default()
    });
    modules.filter(|used| used != module).collect()
}

/// Collects the paths in a file that begin with `crate`, `super` or `self`, from the root of the crate. Tests inside it do not count.
struct Names {
    module: Module,
    paths: Vec<Module>,
}

impl Names {
    fn add(&mut self, segments: &[String]) {
        let Some((first, mut rest)) = segments.split_first() else { return };
        let mut path = match &**first {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            _ => return,
        };
        while let Some(("super", more)) = rest.split_first().map(|(name, more)| (&**name, more)) {
            path.pop();
            rest = more;
        }
        path.extend_from_slice(rest);
        self.paths.push(path);
    }

    fn add_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before)),
            UseTree::Name(name) => self.add(&[&before[..], &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.add(&[&before[..], &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.add(before),
        }
    }
}

impl Visit<'_> for Names {
    fn visit_item_use(&mut self, item: &ItemUse) {
        self.add_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        // Tokens, not syntax: `crate :: store :: chain`.
        let tokens = call.tokens.to_string();
        for (start, _) in tokens.match_indices("crate ::") {
            let words =
                tokens[start..].split(|c: char| !c.is_alphanumeric() && !" :_".contains(c)).next().unwrap();
            self.add(&words.split("::").map(|word| word.trim().to_owned()).collect::<Vec<_>>());
        }
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        if item.content.is_some() && !item.attrs.iter().any(is_cfg_test) {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

#[test]
fn the_rooms_are_those_of_the_list() {
    let src = Crate::read("src");
    let rooms: BTreeSet<_> =
        src.files.keys().filter_map(|module| module.first().map(String::as_str)).collect();
    assert_eq!(rooms, BTreeSet::from(ROOMS));
}

#[test]
fn a_room_uses_only_rooms_before_it() {
    let src = Crate::read("src");
    let place = |module: &Module| ROOMS.iter().position(|room| module.first().is_some_and(|own| own == room));
    let upward = src.across().filter(|(user, used)| place(user).is_some() && place(user) < place(used));
    let upward: Vec<_> =
        upward.map(|(user, used)| format!("{} uses {}", user.join("/"), used.join("/"))).collect();
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let roots = ["src", "benches/pipeline", "tests/all", "tests/faults"];
    let circles: Vec<_> = roots.iter().flat_map(|root| Crate::read(root).circles()).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    for (_, path) in Crate::read("src").files {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= MAX_FILE_LINES, "{} has {lines} lines", path.display());
    }
}
