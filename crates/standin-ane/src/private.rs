//! The private classes: `_ANEClient` with `_ANEModel`, `_ANEInMemoryModel`, and what requests are
//! made of. What the real ones do wrong, or refuse, is done wrong and refused here.

use crate::engine::{NAME, compile};
use crate::foundation::{
    self, Owned, array, bytes, dictionary, fail, give, number, path, string, text,
};
use crate::{iosurface, method};
use ane::target::Route;
use ane::{Evaluation, Model};
use standin_objc::{Class, Fault, Id, class, new, payload};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};

type Sel = *const c_void;
type Error = *mut Id;

/// The one quality of service that programs which work pass.
const QOS: u32 = 21;
const DOMAIN: &str = "com.apple.appleneuralengine";

const CLIENT: &CStr = c"_ANEClient";
const MODEL: &CStr = c"_ANEModel";
const REQUEST: &CStr = c"_ANERequest";
const SURFACE: &CStr = c"_ANEIOSurfaceObject";
const DESCRIPTOR: &CStr = c"_ANEInMemoryModelDescriptor";
const IN_MEMORY: &CStr = c"_ANEInMemoryModel";
const DEVICE: &CStr = c"_ANEDeviceInfo";

/// How far a model has come.
#[derive(Default)]
struct Progress {
    compiled: Option<Arc<dyn Model>>,
    loaded: bool,
}

struct DirectoryModel {
    directory: PathBuf,
    progress: Mutex<Progress>,
}

/// Text and weight files by path.
struct Descriptor {
    text: String,
    weights: BTreeMap<String, Vec<u8>>,
}

struct InMemoryModel {
    descriptor: Owned,
    identifier: Owned,
    progress: Mutex<Progress>,
}

struct SurfaceObject(Owned);

struct Request {
    inputs: Vec<Owned>,
    outputs: Vec<Owned>,
    handler: Mutex<Handler>,
    /// Bound at the first evaluation.
    bound: Mutex<Option<Box<dyn Evaluation>>>,
}

/// A block, or null.
struct Handler(*mut Block);

// SAFETY: blocks may be called and released from any thread.
unsafe impl Send for Handler {}

#[repr(C)]
struct Block {
    isa: *const c_void,
    flags: i32,
    reserved: i32,
    invoke: unsafe extern "C-unwind" fn(*mut Block, u8, Id),
}

#[link(name = "objc")]
unsafe extern "C-unwind" {
    fn _Block_copy(block: *const Block) -> *mut Block;
    fn _Block_release(block: *const Block);
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: a block that was copied here, or null.
        unsafe { _Block_release(self.0) };
    }
}

macro_rules! access {
    ($ty:ty, $name:expr, $object:expr) => {
        // SAFETY: the class of this name holds this type; the runtime checks the object, and its
        // caller keeps it.
        unsafe { payload::<$ty>($object, $name) }
    };
}

/// What compiling, loading and unloading have in common for both kinds of model.
impl Progress {
    fn compile(&mut self, route: Route, directory: &Path, error: Error) -> u8 {
        if Fault::CompileSilently.strikes().is_some() {
            return 0;
        }
        let compiled = match Fault::Compile.strikes() {
            Some(_) => Err("a fault was asked for".to_owned()),
            None => compile(route, directory),
        };
        match compiled {
            Ok(model) => {
                self.compiled = Some(model);
                1
            }
            Err(reason) => {
                let description = format!("_ANECompiler : ANECCompile() FAILED: {reason}");
                fail(error, DOMAIN, 1, &description)
            }
        }
    }

    fn load(&mut self, error: Error) -> u8 {
        if Fault::Load.strikes().is_some() {
            return fail(error, DOMAIN, 6, "loadModel: cannot load: status=0x50004 : a fault");
        }
        if self.compiled.is_none() {
            return fail(error, DOMAIN, 4, "loadModel: the model was not compiled");
        }
        self.loaded = true;
        1
    }

    fn unload(&mut self, error: Error) -> u8 {
        if !std::mem::take(&mut self.loaded) {
            return fail(error, DOMAIN, 5, "unloadModel: the model is not loaded");
        }
        1
    }

    fn evaluate(&self, request: Id, error: Error) -> u8 {
        if let Some(status) = Fault::Evaluate(0).strikes() {
            return refuse(status as u32, "Program Inference error", error);
        }
        let Some(model) = self.compiled.as_ref().filter(|_| self.loaded) else {
            return fail(error, DOMAIN, 5, "evaluate: the model is not loaded");
        };
        let request = access!(Request, REQUEST, request);
        let surface =
            |object: &Owned| iosurface::surface(access!(SurfaceObject, SURFACE, object.0).0.0);
        let mut bound = request.bound.lock().expect("no evaluation panics");
        if bound.is_none() {
            let inputs: Vec<_> = request.inputs.iter().map(surface).collect();
            let outputs: Vec<_> = request.outputs.iter().map(surface).collect();
            match model.clone().bind(&inputs, &outputs) {
                Ok(evaluation) => *bound = Some(evaluation),
                Err(reason) => return fail(error, DOMAIN, 2, &reason.message),
            }
        }
        let evaluation = bound.as_mut().expect("it was just bound");
        match evaluation.evaluate() {
            Ok(()) => {
                complete(&request.handler);
                1
            }
            Err(reason) => refuse(reason.code.unwrap_or(0), &reason.message, error),
        }
    }
}

/// An evaluation that fails with a status, in the words of the real one.
fn refuse(status: u32, reason: &str, error: Error) -> u8 {
    let description = format!(
        "processRequest:model:qos:qIndex:modelStringID:options:returnValue:error:: \
         ANEProgramProcessRequestDirect() Failed with status={status:#x} : statusType=0x9: {reason}"
    );
    fail(error, DOMAIN, 8, &description)
}

/// Calls the completion handler, on a thread of its own as the real one does.
fn complete(handler: &Mutex<Handler>) {
    let handler = handler.lock().expect("no handler panics");
    if handler.0.is_null() || Fault::NoCompletion.strikes().is_some() {
        return;
    }
    // SAFETY: a block that was copied here.
    let copy = Handler(unsafe { _Block_copy(handler.0) });
    let fails = Fault::CompletionFails.strikes().is_some();
    std::thread::spawn(move || {
        let copy = copy;
        let error = match fails {
            true => Owned(foundation::failure(DOMAIN, 8, "completion: status=0x1d : a fault")),
            false => Owned(null_mut()),
        };
        // SAFETY: a block of a flag and an error object.
        unsafe { ((*copy.0).invoke)(copy.0, u8::from(!fails), error.0) };
    });
}

// --- _ANEClient and _ANEModel ---

static SHARED: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

unsafe extern "C-unwind" fn shared(_: Id, _: Sel) -> Id {
    SHARED.load(Ordering::Acquire)
}

unsafe extern "C-unwind" fn model_at(_: Id, _: Sel, url: Id, key: Id) -> Id {
    assert_eq!(text(key), "s", "the key that programs which work pass");
    if Fault::Nil.strikes().is_some() {
        return null_mut();
    }
    let directory = PathBuf::from(path(url));
    let model = DirectoryModel { directory, progress: Mutex::default() };
    // SAFETY: this class holds such models.
    give(unsafe { new(class::<DirectoryModel>(MODEL), model) })
}

unsafe extern "C-unwind" fn client_compile(
    _: Id,
    _: Sel,
    model: Id,
    options: Id,
    qos: u32,
    error: Error,
) -> u8 {
    assert_eq!(qos, QOS);
    let options: Vec<_> = dictionary(options).iter().map(|(k, v)| (text(*k), text(*v))).collect();
    let option = |name: &str| options.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    if option("kANEFModelType") != Some("kANEFModelMIL")
        || option("kANEFNetPlistFilenameKey") != Some("model.mil")
    {
        return fail(error, DOMAIN, 3, "compileModel: the options do not say what to compile");
    }
    let model = access!(DirectoryModel, MODEL, model);
    let mut progress = model.progress.lock().expect("no compilation panics");
    progress.compile(Route::Client, &model.directory, error)
}

unsafe extern "C-unwind" fn client_load(
    _: Id,
    _: Sel,
    model: Id,
    options: Id,
    qos: u32,
    error: Error,
) -> u8 {
    assert_eq!((qos, dictionary(options).len()), (QOS, 0));
    let model = access!(DirectoryModel, MODEL, model);
    model.progress.lock().expect("no load panics").load(error)
}

unsafe extern "C-unwind" fn client_evaluate(
    _: Id,
    _: Sel,
    model: Id,
    options: Id,
    request: Id,
    qos: u32,
    error: Error,
) -> u8 {
    assert_eq!((qos, dictionary(options).len()), (QOS, 0));
    let model = access!(DirectoryModel, MODEL, model);
    model.progress.lock().expect("no evaluation panics").evaluate(request, error)
}

unsafe extern "C-unwind" fn client_unload(
    _: Id,
    _: Sel,
    model: Id,
    options: Id,
    qos: u32,
    error: Error,
) -> u8 {
    assert_eq!((qos, dictionary(options).len()), (QOS, 0));
    let model = access!(DirectoryModel, MODEL, model);
    model.progress.lock().expect("no unload panics").unload(error)
}

unsafe extern "C-unwind" fn client_purge(_: Id, _: Sel, model: Id) {
    access!(DirectoryModel, MODEL, model).progress.lock().expect("no unload panics").compiled =
        None;
}

// --- _ANEInMemoryModel ---

unsafe extern "C-unwind" fn descriptor(_: Id, _: Sel, text: Id, weights: Id, plist: Id) -> Id {
    assert!(plist.is_null(), "no program that works passes a property list");
    // The real one takes nil and fails when it compiles, with no reason.
    assert!(!weights.is_null(), "the weights are an empty dictionary, never nil");
    let files = dictionary(weights).into_iter().map(|(name, entry)| {
        let entry = dictionary(entry);
        let value =
            |key: &str| entry.iter().find(|(k, _)| foundation::text(*k) == key).map(|e| e.1);
        assert_eq!(value("offset").map(number), Some(0));
        let data = value("data").expect("a weight file has data");
        (foundation::text(name), bytes(data).to_vec())
    });
    let weights = files.collect();
    let text = String::from_utf8(bytes(text).to_vec());
    let Some(text) = text.ok().filter(|_| Fault::Nil.strikes().is_none()) else {
        return null_mut();
    };
    // SAFETY: this class holds descriptors.
    give(unsafe { new(class::<Descriptor>(DESCRIPTOR), Descriptor { text, weights }) })
}

unsafe extern "C-unwind" fn in_memory(_: Id, _: Sel, descriptor: Id) -> Id {
    let contents = access!(Descriptor, DESCRIPTOR, descriptor);
    let mut hash = DefaultHasher::new();
    (&contents.text, &contents.weights).hash(&mut hash);
    let identifier = format!("{:016X}_{:016X}", hash.finish(), contents.text.len());
    let model = InMemoryModel {
        descriptor: Owned::retain(descriptor),
        identifier: Owned(string(&identifier)),
        progress: Mutex::default(),
    };
    // SAFETY: this class holds such models.
    give(unsafe { new(class::<InMemoryModel>(IN_MEMORY), model) })
}

unsafe extern "C-unwind" fn identifier(this: Id, _: Sel) -> Id {
    access!(InMemoryModel, IN_MEMORY, this).identifier.0
}

unsafe extern "C-unwind" fn in_memory_compile(
    this: Id,
    _: Sel,
    qos: u32,
    options: Id,
    error: Error,
) -> u8 {
    assert_eq!((qos, dictionary(options).len()), (QOS, 0));
    let model = access!(InMemoryModel, IN_MEMORY, this);
    let contents = access!(Descriptor, DESCRIPTOR, model.descriptor.0);
    // The files must be there already, and be those of the descriptor.
    let directory = std::env::temp_dir().join(text(model.identifier.0));
    let same = |name: &str, expected: &[u8]| {
        std::fs::read(directory.join(name.trim_start_matches("@model_path/")))
            .is_ok_and(|found| found == expected)
    };
    let there = same("model.mil", contents.text.as_bytes())
        && contents.weights.iter().all(|(name, bytes)| same(name, bytes));
    if !there {
        return fail(error, DOMAIN, 2, "compileWithQoS: the model's files are not there");
    }
    let mut progress = model.progress.lock().expect("no compilation panics");
    progress.compile(Route::InMemory, &directory, error)
}

unsafe extern "C-unwind" fn in_memory_load(
    this: Id,
    _: Sel,
    qos: u32,
    options: Id,
    error: Error,
) -> u8 {
    assert_eq!((qos, dictionary(options).len()), (QOS, 0));
    let model = access!(InMemoryModel, IN_MEMORY, this);
    model.progress.lock().expect("no load panics").load(error)
}

unsafe extern "C-unwind" fn in_memory_evaluate(
    this: Id,
    _: Sel,
    qos: u32,
    options: Id,
    request: Id,
    error: Error,
) -> u8 {
    assert_eq!((qos, dictionary(options).len()), (QOS, 0));
    let model = access!(InMemoryModel, IN_MEMORY, this);
    model.progress.lock().expect("no evaluation panics").evaluate(request, error)
}

unsafe extern "C-unwind" fn in_memory_unload(this: Id, _: Sel, qos: u32, error: Error) -> u8 {
    assert_eq!(qos, QOS);
    let model = access!(InMemoryModel, IN_MEMORY, this);
    model.progress.lock().expect("no unload panics").unload(error)
}

// --- Requests ---

unsafe extern "C-unwind" fn surface_object(_: Id, _: Sel, surface: Id) -> Id {
    iosurface::surface(surface); // Checks that it is one.
    let object = SurfaceObject(Owned::retain(surface));
    // SAFETY: this class holds surfaces.
    give(unsafe { new(class::<SurfaceObject>(SURFACE), object) })
}

#[allow(clippy::too_many_arguments)] // They are the selector's.
unsafe extern "C-unwind" fn request(
    _: Id,
    _: Sel,
    inputs: Id,
    input_indices: Id,
    outputs: Id,
    output_indices: Id,
    weights: Id,
    statistics: Id,
    procedure: Id,
) -> Id {
    assert!(weights.is_null() && statistics.is_null(), "neither is of any use");
    assert_eq!(number(procedure), 0);
    let surfaces = |objects: Id, indices: Id| -> Vec<Owned> {
        let indices: Vec<u64> = array(indices).into_iter().map(number).collect();
        let objects: Vec<Owned> = array(objects).into_iter().map(Owned::retain).collect();
        assert!((0..objects.len() as u64).eq(indices), "indices count from 0");
        objects
    };
    let (inputs, outputs) = (surfaces(inputs, input_indices), surfaces(outputs, output_indices));
    if Fault::Nil.strikes().is_some() {
        return null_mut();
    }
    let (handler, bound) = (Mutex::new(Handler(null_mut())), Mutex::default());
    let request = Request { inputs, outputs, handler, bound };
    // SAFETY: this class holds requests.
    give(unsafe { new(class::<Request>(REQUEST), request) })
}

unsafe extern "C-unwind" fn set_handler(this: Id, _: Sel, block: *mut Block) {
    // SAFETY: a block or nil.
    let copy = Handler(unsafe { _Block_copy(block) });
    *access!(Request, REQUEST, this).handler.lock().expect("no handler panics") = copy;
}

unsafe extern "C-unwind" fn sub_type(_: Id, _: Sel) -> Id {
    give(string(NAME))
}

pub fn register() {
    let client: Class = class::<()>(CLIENT);
    // SAFETY: this class holds nothing.
    SHARED.store(unsafe { new(client, ()) }, Ordering::Release);
    method!(client, CLIENT, c"sharedConnection", shared, fn() -> Id);
    method!(
        client,
        CLIENT,
        c"compileModel:options:qos:error:",
        client_compile,
        fn(Id, Id, u32, Error) -> u8
    );
    method!(
        client,
        CLIENT,
        c"loadModel:options:qos:error:",
        client_load,
        fn(Id, Id, u32, Error) -> u8
    );
    method!(
        client,
        CLIENT,
        c"evaluateWithModel:options:request:qos:error:",
        client_evaluate,
        fn(Id, Id, Id, u32, Error) -> u8
    );
    method!(
        client,
        CLIENT,
        c"unloadModel:options:qos:error:",
        client_unload,
        fn(Id, Id, u32, Error) -> u8
    );
    method!(client, CLIENT, c"purgeCompiledModel:", client_purge, fn(Id));
    let models = class::<DirectoryModel>(MODEL);
    method!(models, MODEL, c"modelAtURL:key:", model_at, fn(Id, Id) -> Id);

    let descriptors = class::<Descriptor>(DESCRIPTOR);
    method!(
        descriptors,
        DESCRIPTOR,
        c"modelWithMILText:weights:optionsPlist:",
        descriptor,
        fn(Id, Id, Id) -> Id
    );
    let models = class::<InMemoryModel>(IN_MEMORY);
    method!(models, IN_MEMORY, c"inMemoryModelWithDescriptor:", in_memory, fn(Id) -> Id);
    method!(models, IN_MEMORY, c"hexStringIdentifier", identifier, fn() -> Id);
    method!(
        models,
        IN_MEMORY,
        c"compileWithQoS:options:error:",
        in_memory_compile,
        fn(u32, Id, Error) -> u8
    );
    method!(
        models,
        IN_MEMORY,
        c"loadWithQoS:options:error:",
        in_memory_load,
        fn(u32, Id, Error) -> u8
    );
    method!(
        models,
        IN_MEMORY,
        c"evaluateWithQoS:options:request:error:",
        in_memory_evaluate,
        fn(u32, Id, Id, Error) -> u8
    );
    method!(models, IN_MEMORY, c"unloadWithQoS:error:", in_memory_unload, fn(u32, Error) -> u8);

    let surfaces = class::<SurfaceObject>(SURFACE);
    method!(surfaces, SURFACE, c"objectWithIOSurface:", surface_object, fn(Id) -> Id);
    let requests = class::<Request>(REQUEST);
    method!(
        requests,
        REQUEST,
        c"requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:",
        request,
        fn(Id, Id, Id, Id, Id, Id, Id) -> Id
    );
    method!(requests, REQUEST, c"setCompletionHandler:", set_handler, fn(*mut Block));
    method!(class::<()>(DEVICE), DEVICE, c"aneSubType", sub_type, fn() -> Id);
}
