//! Messages to the private classes, each behind a safe function.
//!
//! Every function here must run inside [`objc::guarded`]. The types of what is sent are those of
//! [`crate::interface`], which were checked against the classes when the engine was opened; that
//! is what the SAFETY comments below rest on.

use crate::iosurface::SharedSurface;
use crate::objc::{self, Failure, Object, checked, class};
use block2::RcBlock;
use objc2::msg_send;
use objc2::rc::Retained;
use objc2::runtime::{AnyObject, Bool};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Quality of service: user initiated minus 4, what every program that is known to work passes.
const QOS: u32 = 21;

const NIL: *mut AnyObject = std::ptr::null_mut();

/// The connection to the engine's daemon, and a model in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    client: Object,
    model: Object,
    purges: bool,
}

impl Client {
    /// A model whose `model.mil` and weights lie in `directory`. `purges` says whether the
    /// daemon's copy can be removed when the model is unloaded.
    pub(crate) fn new(directory: &str, purges: bool) -> Result<Client, Failure> {
        let (client, model) = (class(c"_ANEClient")?, class(c"_ANEModel")?);
        let (url, key) = (objc::ns_url(directory)?, objc::ns_string("s")?);
        // SAFETY: takes nothing and gives the shared connection or nil.
        let client: Option<Retained<AnyObject>> = unsafe { msg_send![client, sharedConnection] };
        // SAFETY: takes a URL and a string and gives a model or nil.
        let model: Option<Retained<AnyObject>> =
            unsafe { msg_send![model, modelAtURL: &*url, key: &*key] };
        let client = Object::some(client, "the connection to the engine")?;
        Ok(Client { client, model: Object::some(model, "the model")?, purges })
    }

    pub(crate) fn compile(&self) -> Result<(), Failure> {
        let options = objc::ns_dictionary(&[
            (objc::ns_string("kANEFModelType")?, objc::ns_string("kANEFModelMIL")?),
            (objc::ns_string("kANEFNetPlistFilenameKey")?, objc::ns_string("model.mil")?),
        ])?;
        let (client, model) = (&*self.client, &*self.model);
        // SAFETY: a model, a dictionary, a number, and where to leave an error.
        checked(|error| unsafe {
            msg_send![client, compileModel: model, options: &*options, qos: QOS, error: error]
        })
    }

    pub(crate) fn load(&self) -> Result<(), Failure> {
        let (client, model, options) = (&*self.client, &*self.model, objc::ns_dictionary(&[])?);
        // SAFETY: a model, a dictionary, a number, and where to leave an error.
        checked(|error| unsafe {
            msg_send![client, loadModel: model, options: &*options, qos: QOS, error: error]
        })
    }

    pub(crate) fn evaluate(&self, request: &Request) -> Result<(), Failure> {
        let (client, model, request) = (&*self.client, &*self.model, &*request.0);
        let options = objc::ns_dictionary(&[])?;
        // SAFETY: a model, a dictionary, a request, a number, and where to leave an error.
        checked(|error| unsafe {
            msg_send![
                client,
                evaluateWithModel: model,
                options: &*options,
                request: request,
                qos: QOS,
                error: error
            ]
        })
    }

    pub(crate) fn unload(&self) -> Result<(), Failure> {
        let (client, model, options) = (&*self.client, &*self.model, objc::ns_dictionary(&[])?);
        // SAFETY: a model, a dictionary, a number, and where to leave an error.
        checked(|error| unsafe {
            msg_send![client, unloadModel: model, options: &*options, qos: QOS, error: error]
        })
    }

    /// Removes the daemon's copy of the compiled model, which lies under a key made of the
    /// directory's path and would never be found again.
    pub(crate) fn purge(&self) {
        if self.purges {
            let (client, model) = (&*self.client, &*self.model);
            // SAFETY: takes a model and gives nothing.
            unsafe { msg_send![client, purgeCompiledModel: model] }
        }
    }
}

/// A model that its class writes into a directory named after the program's hash.
#[derive(Clone, Debug)]
pub(crate) struct InMemory(Object);

impl InMemory {
    /// A model of MIL text and weight files by their path in the text.
    pub(crate) fn new(text: &str, weights: &[(&str, &[u8])]) -> Result<InMemory, Failure> {
        let descriptors = class(c"_ANEInMemoryModelDescriptor")?;
        let models = class(c"_ANEInMemoryModel")?;
        let text = objc::ns_data(text.as_bytes())?;
        let mut entries = vec![];
        for (path, bytes) in weights {
            let entry = objc::ns_dictionary(&[
                (objc::ns_string("offset")?, objc::ns_number(0)?),
                (objc::ns_string("data")?, objc::ns_data(bytes)?),
            ])?;
            entries.push((objc::ns_string(path)?, entry));
        }
        // Never nil, even without weights: with nil the compiler fails later and says nothing.
        let weights = objc::ns_dictionary(&entries)?;
        // SAFETY: data, a dictionary, and nil for a property list; gives a descriptor or nil.
        let descriptor: Option<Retained<AnyObject>> = unsafe {
            msg_send![
                descriptors,
                modelWithMILText: &*text,
                weights: &*weights,
                optionsPlist: NIL
            ]
        };
        let descriptor = descriptor.ok_or_else(|| {
            Failure::new("the descriptor is nil: the text or a weight file is not accepted")
        })?;
        // SAFETY: takes a descriptor and gives a model or nil.
        let model: Option<Retained<AnyObject>> =
            unsafe { msg_send![models, inMemoryModelWithDescriptor: &*descriptor] };
        Ok(InMemory(Object::some(model, "the model")?))
    }

    /// The name of the directory in which the model looks for its files.
    pub(crate) fn directory(&self) -> Result<String, Failure> {
        // SAFETY: takes nothing and gives a string or nil.
        let name: Option<Retained<AnyObject>> = unsafe { msg_send![&*self.0, hexStringIdentifier] };
        let name = name.map(|name| objc::string(&name)).unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Failure::new(format!("the model's identifier is {name:?}")));
        }
        Ok(name)
    }

    pub(crate) fn compile(&self) -> Result<(), Failure> {
        let (model, options) = (&*self.0, objc::ns_dictionary(&[])?);
        // SAFETY: a number, a dictionary, and where to leave an error.
        checked(|error| unsafe {
            msg_send![model, compileWithQoS: QOS, options: &*options, error: error]
        })
    }

    pub(crate) fn load(&self) -> Result<(), Failure> {
        let (model, options) = (&*self.0, objc::ns_dictionary(&[])?);
        // SAFETY: a number, a dictionary, and where to leave an error.
        checked(|error| unsafe {
            msg_send![model, loadWithQoS: QOS, options: &*options, error: error]
        })
    }

    pub(crate) fn evaluate(&self, request: &Request) -> Result<(), Failure> {
        let (model, request, options) = (&*self.0, &*request.0, objc::ns_dictionary(&[])?);
        // SAFETY: a number, a dictionary, a request, and where to leave an error.
        checked(|error| unsafe {
            msg_send![
                model,
                evaluateWithQoS: QOS,
                options: &*options,
                request: request,
                error: error
            ]
        })
    }

    pub(crate) fn unload(&self) -> Result<(), Failure> {
        let model = &*self.0;
        // SAFETY: a number, and where to leave an error.
        checked(|error| unsafe { msg_send![model, unloadWithQoS: QOS, error: error] })
    }
}

/// Surfaces in binding order.
#[derive(Debug)]
pub(crate) struct Request(Object);

/// What a completion handler was told.
pub(crate) type Completion = Result<(), Failure>;

impl Request {
    pub(crate) fn new(
        inputs: &[&SharedSurface],
        outputs: &[&SharedSurface],
    ) -> Result<Request, Failure> {
        let requests = class(c"_ANERequest")?;
        let (input_objects, output_objects) = (wrap(inputs)?, wrap(outputs)?);
        let (input_indices, output_indices) = (indices(inputs.len())?, indices(outputs.len())?);
        let procedure = objc::ns_number(0)?;
        // SAFETY: four arrays, nil for weights and statistics, and a number object; gives a
        // request, which retains the arrays, or nil.
        let request: Option<Retained<AnyObject>> = unsafe {
            msg_send![
                requests,
                requestWithInputs: &*input_objects,
                inputIndices: &*input_indices,
                outputs: &*output_objects,
                outputIndices: &*output_indices,
                weightsBuffer: NIL,
                perfStats: NIL,
                procedureIndex: &*procedure
            ]
        };
        Ok(Request(Object::some(request, "the request")?))
    }

    /// Has the request tell when it has finished. One handler for one evaluation.
    pub(crate) fn when_done(&mut self) -> Receiver<Completion> {
        let (sender, receiver) = channel();
        let handler = RcBlock::new(move |success: Bool, error: *mut AnyObject| {
            told(&sender, success.as_bool(), error);
        });
        // SAFETY: takes a block of a flag and an error object, which the request copies.
        unsafe { msg_send![&*self.0, setCompletionHandler: &*handler] }
        receiver
    }

    /// Takes the handler back.
    pub(crate) fn forget_handler(&mut self) {
        let none: *mut block2::Block<dyn Fn(Bool, *mut AnyObject)> = std::ptr::null_mut();
        // SAFETY: takes a block or nil.
        unsafe { msg_send![&*self.0, setCompletionHandler: none] }
    }
}

/// Runs in the completion handler, on a thread of the framework's.
fn told(sender: &Sender<Completion>, success: bool, error: *mut AnyObject) {
    // SAFETY: the handler is given nil or an error object that lives as long as the call.
    let error = unsafe { error.as_ref() };
    let completion = objc::guarded(|| match error {
        None if success => Ok(()),
        None => Err(Failure::new("the completion handler was told of a failure")),
        Some(error) => Err(objc::failure(error)),
    });
    // Who has stopped to wait has reported that already.
    _ = sender.send(completion);
}

/// `_ANEIOSurfaceObject`s, which retain the surfaces.
fn wrap(surfaces: &[&SharedSurface]) -> Result<Object, Failure> {
    let objects = class(c"_ANEIOSurfaceObject")?;
    let wrapped = surfaces.iter().map(|surface| {
        let reference = surface.reference();
        // SAFETY: takes a live `IOSurface` and gives an object or nil.
        let object = unsafe { msg_send![objects, objectWithIOSurface: reference] };
        Object::some(object, "a surface's object")
    });
    objc::ns_array(&wrapped.collect::<Result<Vec<_>, _>>()?)
}

fn indices(count: usize) -> Result<Object, Failure> {
    let numbers = (0..count as u64).map(objc::ns_number);
    objc::ns_array(&numbers.collect::<Result<Vec<_>, _>>()?)
}

/// The engine's name, such as `h16g`. Only where the capability report found the method.
pub(crate) fn engine_name() -> Result<String, Failure> {
    let devices = class(c"_ANEDeviceInfo")?;
    // SAFETY: takes nothing and gives a string or nil.
    let name: Option<Retained<AnyObject>> = unsafe { msg_send![devices, aneSubType] };
    Ok(name.map(|name| objc::string(&name)).unwrap_or_default())
}
